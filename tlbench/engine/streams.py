"""Further streams of a phase: the data and machine of each task that is learned beside the target."""

from __future__ import annotations

from dataclasses import replace

from tlbench.data import CellData
from tlbench.engine.bench import Bench
from tlbench.engine.families import Source
from tlbench.engine.fit import Side
from tlbench.engine.machine import Machine, beside
from tlbench.engine.upstream import Used, source_cell, source_data
from tlbench.grid import Cell, stream
from tlbench.setups import Checkpoint, Phase, Stream


class Streams:
    """The streams beside one machine; each is made once, however many phases use it.

    Attributes:
        used: Each task that is learned beside the target, as the record tells it.
    """

    def __init__(self, cell: Cell, data: CellData, source: Source, bench: Bench, machine: Machine) -> None:
        """Remember the target."""
        self.used: list[Used] = []
        self._cell, self._data, self._source, self._bench, self._machine = cell, data, source, bench, machine
        self._made: dict[str, Side] = {}

    def sides(self, phase: Phase) -> tuple[Side, ...]:
        """Return the streams of a phase.

        Raises:
            UserError: a stream has no labels left, or needs a part of the model that the target does not use.
        """
        streams = phase.mixture.streams if phase.mixture else ()
        return tuple(self._side(each) for each in streams)

    def _side(self, each: Stream) -> Side:
        name = each.task.name
        if name not in self._made:
            # A stream draws its labels as a source model does, anew for each replicate; texts of the test go.
            above = source_cell(self._cell, Checkpoint(each.task, each.budget, each.setup, shared=False))
            drawn, left_out = source_data(above, self._bench.data(each.task), self._data)
            source = replace(self._source, generates=each.task.kind == "text-generation")
            recipe = each.setup.phases[0].recipe
            machine = beside(
                self._machine, source, each.task.kind, drawn.task.labels, recipe, stream(above, "head")
            )
            self.used.append(Used(name, len(drawn.train), left_out=left_out))
            self._made[name] = Side(machine, machine.form.encode(drawn.train))
        return self._made[name]
