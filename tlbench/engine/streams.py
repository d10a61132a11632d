"""Further streams of a phase: what is learned beside the target, tasks and text."""

from __future__ import annotations

from dataclasses import replace

from tlbench.canonical import digest
from tlbench.data import CellData
from tlbench.engine.bench import Bench
from tlbench.engine.families import Source
from tlbench.engine.fit import Side
from tlbench.engine.machine import Machine, beside
from tlbench.engine.pretraining.beside import reading_beside, targets
from tlbench.engine.reading import texts_to_read, title_of
from tlbench.engine.upstream import source_cell, source_data
from tlbench.grid import Cell, stream
from tlbench.learned import Used
from tlbench.setups import Checkpoint, Phase, Stream, TextStream


def without_idle_text(phase: Phase, generates: bool) -> Phase:
    """Return the phase without text where only a linear head moves, which text cannot train.

    Where a model generates, its decoder is the head, and text trains it.
    """
    if phase.mixture is None or phase.trainable != "head" or generates:
        return phase
    tasks = tuple(each for each in phase.mixture.streams if isinstance(each, Stream))
    return replace(phase, mixture=replace(phase.mixture, streams=tasks) if tasks else None)


class Streams:
    """The streams beside one machine; each is made once, however many phases use it.

    Attributes:
        used: Each task or text that is learned beside the target, as the record tells it.
        texts: Distinct unlabelled texts of the text streams.
    """

    def __init__(self, cell: Cell, data: CellData, source: Source, bench: Bench, machine: Machine) -> None:
        """Remember the target."""
        self.used: list[Used] = []
        self.texts: frozenset[str] = frozenset()
        self._cell, self._data, self._source, self._bench, self._machine = cell, data, source, bench, machine
        self._made: dict[str, Side] = {}

    def sides(self, phase: Phase) -> tuple[Side, ...]:
        """Return the streams of a phase.

        Raises:
            UserError: a stream has no labels left, or needs a part of the model that the target does not use.
        """
        streams = phase.mixture.streams if phase.mixture else ()
        return tuple(self._text(each, phase) if isinstance(each, TextStream) else self._task(each) for each in streams)

    def _text(self, each: TextStream, phase: Phase) -> Side:
        identity = digest(each)
        if identity not in self._made:
            setup, task = self._cell.condition.setup, self._cell.condition.task
            texts = texts_to_read(each.corpus, self._data.task, self._bench)
            seed = stream(self._cell, "text")
            made = reading_beside(self._machine.trunk, self._source, setup, texts, each, seed, self._bench.precision)
            self.used.append(Used(title_of(each.corpus, setup.at_random, self._source, task)))
            self.texts |= made.texts
            self._made[identity] = Side(made.reader, made.rows, targets, rest=made.rest)
        for p in self._made[identity].rest:
            p.requires_grad_(phase.trainable != "adapters")
        return self._made[identity]

    def _task(self, each: Stream) -> Side:
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
            machine.form = machine.form.fitted(drawn.train)
            self._made[name] = Side.of(machine, machine.form.encode(drawn.train))
        return self._made[name]
