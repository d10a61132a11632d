"""What the neural learner runs on: device, precision, artefacts, clock."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tlbench.data import TaskData
from tlbench.engine.families import Source
from tlbench.engine.measure import Clock, numerics
from tlbench.engine.place import Place
from tlbench.engine.precision import Precision
from tlbench.setups import ModelRef
from tlbench.sources import DataSource
from tlbench.stages.store import Arrays, StageStore
from tlbench.task import TaskRef


@dataclass(frozen=True)
class Bench:
    """What the neural learner runs on.

    Attributes:
        place: Device and ranks.
        precision: Resolved precision.
        stages: Store of features and checkpoints.
        source: Where data come from; its cache holds what is pre-trained.
        clock: The cell's clock.
        progress: Called with the share of the work done.
        data: Returns the data of a task, for the sources that a cell learns from.
        model: Returns a model for a kind of task, for teachers that are another model than the cell's.
        spent: What stages have cost this cell so far, in seconds, by their identity.
    """

    place: Place
    precision: Precision
    stages: StageStore
    source: DataSource
    clock: Clock
    progress: Callable[[float], None]
    data: Callable[[TaskRef], TaskData]
    model: Callable[[ModelRef, str], Source]
    spent: dict[str, float] = field(default_factory=dict)

    def charged(self, stage: str, seconds: float) -> float:
        """Return what a stage costs this cell: what was spent on it now, or before its training started over."""
        self.spent[stage] = max(seconds, self.spent.get(stage, 0.0))
        return self.spent[stage]

    @property
    def cache(self) -> Path:
        """Return the root of tlbench's cache."""
        return self.source.cache

    @property
    def numerics(self) -> str:
        """Return the class of arithmetic, which artefacts depend on."""
        return str(numerics(self.place, self.precision)["class"])

    def stage(self, name: str, made_from: Any, make: Callable[[], Arrays]) -> tuple[Arrays, bool]:
        """Return a stage's arrays and whether they were there already; all ranks take the same way.

        Args:
            name: Name of the stage.
            made_from: Everything the arrays depend on; must have a canonical JSON form.
            make: Computes the arrays, on all ranks in step.
        """
        return self.stages.in_step(name, made_from, make, self.place)
