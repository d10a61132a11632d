"""`tlbench plan`: what would run, what is reused, and how long it takes, by measuring a few steps of each row."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tlbench.canonical import digest
from tlbench.cells import Shop, model_source
from tlbench.data import cell_data
from tlbench.errors import UnsupportedError
from tlbench.grid import Cell, StrategyRef
from tlbench.planning import Request, make_plan
from tlbench.records import Record, Store
from tlbench.registry import Registry
from tlbench.runner import todo
from tlbench.setups import Checkpoint, Continued, Plateau
from tlbench.sources import DataSource
from tlbench.workshop import PluginSpec, ShopSpec, open_shop

_PLATEAU_SHARE = 0.5
"""Share of its cap at which training from scratch stopped, as a mean over the default budgets of the published boards;
at budgets of 100 and below it goes on to the cap."""
_RECORD_BYTES = 60_000
_FEW = 8
"""Test examples that a model which is not trained is asked about before it is estimated."""


@dataclass(frozen=True)
class Estimate:
    """What a run would do.

    Attributes:
        rows: One per condition: name, open cells, seconds each, and where the figure comes from.
        reused: Cells that have a record already.
        unavailable: What is left out, with the reason.
        stages: What comes before the cells, each once however many cells share it: source models, teachers,
            reading, what learners keep. What an earlier run left in the cache is not looked up.
    """

    rows: tuple[dict[str, Any], ...]
    reused: int
    unavailable: dict[str, str]
    stages: tuple[dict[str, Any], ...] = ()

    @property
    def seconds(self) -> float:
        """Return the seconds of all open cells and their stages together."""
        cells = sum((float(row["cells"] * row["seconds_each"]) for row in self.rows), 0.0)
        return cells + sum((float(row["times"] * row["seconds_each"]) for row in self.stages), 0.0)

    @property
    def megabytes(self) -> float:
        """Return the disk that the records need."""
        return float(sum(row["cells"] for row in self.rows)) * _RECORD_BYTES / 1e6

    def as_json(self) -> dict[str, Any]:
        """Return everything as JSON types."""
        return {
            "rows": list(self.rows),
            "stages": list(self.stages),
            "reused": self.reused,
            "unavailable": self.unavailable,
            "cells": sum(row["cells"] for row in self.rows),
            "seconds": round(self.seconds, 1),
            "megabytes": round(self.megabytes, 1),
        }

    def text(self) -> str:
        """Return a table and a sentence."""
        from tabulate import tabulate

        cells = sum(row["cells"] for row in self.rows)
        lines = [tabulate(self.rows, headers="keys", floatfmt=".1f")] if self.rows else []
        lines += ["", tabulate(self.stages, headers="keys", floatfmt=".1f"), ""] if self.stages else []
        lines += [f"left out: {name}: {reason}" for name, reason in self.unavailable.items()]
        lines.append(
            f"{cells} cells to run, {self.reused} reused; about {_clock(self.seconds)} in this process and "
            f"{self.megabytes:.1f} MB of records"
        )
        return "\n".join(lines)


def _clock(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.1f} min"


def estimate(
    request: Request, registry: Registry, source: DataSource, plugins: PluginSpec, out: Path, say: Callable[[str], None]
) -> Estimate:
    """Estimate a run: from records of other replicates where there are any, else by timing a few steps.

    Raises:
        UserError: as `make_plan`.
    """
    plan = make_plan(request, registry, source)
    store = Store(out)
    work = todo(plan, store)
    known = _known(store.load())
    shop: Shop | None = None
    rows, stages = [], Stages()
    for cells in _by_condition(work.cells):
        cell = cells[0]
        if cell.key in plan.unsupported:
            seconds, origin = 0.0, "unsupported"
        elif cell.condition.title in known:
            seconds, origin = known[cell.condition.title], "records"
        else:
            shop = shop or open_shop(ShopSpec(plugins, source, request.precision), registry)
            say(f"timing {cell.condition.title}")
            try:
                (seconds, made), origin = _measured(cell, shop), "probe"
                stages.add(cells, shop)
                stages.keep(cells, made)
            except UnsupportedError:
                seconds, origin = 0.0, "unsupported"
        rows.append(
            {"condition": cell.condition.title, "cells": len(cells), "seconds_each": round(seconds, 1), "from": origin}
        )
    return Estimate(tuple(rows), work.done, plan.unavailable, tuple(stages.rows))


class Stages:
    """What comes before cells; each stage is counted once.

    Attributes:
        rows: Name of the stage, how often it is made, and seconds each.
    """

    def __init__(self) -> None:
        """Start without any."""
        self.rows: list[dict[str, Any]] = []
        self._seen: set[str] = set()
        self._probed: dict[str, float] = {}

    def add(self, cells: Sequence[Cell], shop: Shop) -> None:
        """Add what one condition's cells start from or learn from.

        Args:
            cells: The cells of a condition.
            shop: What to time with.
        """
        setup = cells[0].condition.setup
        if isinstance(setup.weights, Checkpoint):
            from tlbench.engine.upstream import source_cell

            above = [source_cell(cell, setup.weights) for cell in cells]
            self._add(f"source model: {_title(above[0])}", above, self._probe(above[0], shop), shop)
        if setup.teacher is not None:
            from tlbench.engine.distillation import teacher_cell

            # The same teachers teach every strategy that asks for them alike.
            ref = StrategyRef("teachers", (), True, "none")
            above = [teacher_cell(replace(cell, condition=replace(cell.condition, strategy=ref))) for cell in cells]
            self._add(f"teacher: {_title(above[0])}", above, self._probe(above[0], shop), shop, setup.teacher.members)
        if isinstance(setup.weights, Continued):
            text = cells[0].condition.task if setup.weights.corpus == "task" else setup.weights.corpus
            identity = digest([setup.weights, cells[0].condition.model, text])
            if identity not in self._seen:
                self._seen.add(identity)
                self._row(f"reading: {_title(cells[0])}", 1, _reading(cells[0], setup.weights.recipe.tokens, shop))

    def keep(self, cells: Sequence[Cell], made: Sequence[Mapping[str, Any]]) -> None:
        """Add what the learner of one condition's cells makes once for several of them.

        Args:
            cells: The cells of a condition.
            made: What the record of the first one would say of it (`training.upstream`).
        """
        learner = cells[0].condition.setup.learner
        for one in made:
            redrawn = [digest([learner, cell.replicate]) for cell in cells[1:] if not learner.shared]
            new = {one["stage"], *redrawn} - self._seen
            self._seen |= new
            if new:
                self._row(f"{one['task']}: {_title(cells[0])}", len(new), one["seconds"])

    def _add(self, name: str, above: Sequence[Cell], seconds: float, shop: Shop, members: int = 1) -> None:
        every = {f"{cell.key}|{member}": cell for cell in above for member in range(members)}
        new = {key: cell for key, cell in every.items() if key not in self._seen}
        self._seen |= new.keys()
        if new:
            self._row(name, len(new), seconds)
            self.add(list(new.values()), shop)

    def _row(self, name: str, times: int, seconds: float) -> None:
        self.rows.append({"stage": name, "times": times, "seconds_each": round(seconds, 1)})

    def _probe(self, cell: Cell, shop: Shop) -> float:
        condition = digest(cell.condition)
        if condition not in self._probed:
            self._probed[condition] = _probe(cell, shop)
        return self._probed[condition]


def _title(cell: Cell) -> str:
    """Name a cell that stands in no table."""
    condition = cell.condition
    return f"{condition.task.name} @{condition.budget} | {condition.model.name if condition.model else '-'}"


def _by_condition(cells: Sequence[Cell]) -> list[list[Cell]]:
    groups: dict[str, list[Cell]] = {}
    for cell in cells:
        groups.setdefault(cell.condition.title, []).append(cell)
    return list(groups.values())


def _known(records: Sequence[Record]) -> dict[str, float]:
    """Return the mean seconds of finished cells by condition."""
    times: dict[str, list[float]] = {}
    for record in records:
        if record.status in ("ok", "collapsed") and not record.cost["contended"]:
            times.setdefault(record.title, []).append(record.cost["seconds"]["total"])
    return {title: statistics.mean(found) for title, found in times.items()}


def _measured(cell: Cell, shop: Shop) -> tuple[float, Sequence[Mapping[str, Any]]]:
    """Return the expected seconds of a cell, and what its learner makes once for several, which is not in them."""
    if cell.condition.setup.learner.name == "neural":
        return _probe(cell, shop), ()
    from tlbench.cells import run_cell

    data = cell_data(cell, shop.data(cell.condition.task))
    # A model that is asked and never trained answers a few test examples only.
    few = data.task if cell.condition.model is None else replace(data.task, test=data.task.test[:_FEW])
    facts = run_cell(cell, replace(shop, _data={digest(cell.condition.task): few})).facts
    seconds, made = facts["cost"]["seconds"], facts["training"].get("upstream", ())
    asked, left = len(data.validation) + len(few.test), len(data.test) - len(few.test)
    spent = sum(float(one["spent"]) for one in made)
    return float(seconds["total"] - spent + seconds.get("evaluate", 0.0) * left / max(1, asked)), made


def _probe(cell: Cell, shop: Shop) -> float:
    """Return the expected seconds of a cell that trains a model, from a few of its own steps and batches."""
    from tlbench.engine.trained import LAST_STEP_BUDGET, seeds_of
    from tlbench.timing import cell_seconds

    data = cell_data(cell, shop.data(cell.condition.task))
    stops = [phase.stop for phase in cell.condition.setup.phases]
    small = cell.condition.budget != "full" and cell.condition.budget <= LAST_STEP_BUDGET
    of_cap = 1.0 if small else _PLATEAU_SHARE
    shares = [max(1.0, stop.cap * of_cap) if isinstance(stop, Plateau) else 1.0 for stop in stops]
    return cell_seconds(cell, data, model_source(cell, shop), shop, seeds_of(cell), shares)


def _reading(cell: Cell, tokens: int, shop: Shop) -> float:
    """Return the expected seconds of pre-training on so many tokens, at the speed of the cell's own training steps."""
    from tlbench.engine.trained import seeds_of
    from tlbench.timing import token_seconds

    data = cell_data(cell, shop.data(cell.condition.task))
    return tokens * token_seconds(cell, data, model_source(cell, shop), shop, seeds_of(cell))
