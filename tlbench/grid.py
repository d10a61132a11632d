"""Cells: what is asked for, as pure data, and the grid of them.

A cell is model x strategy x task x budget x replicate with everything resolved: its canonical JSON is its key,
so whatever can change a score changes the key, and nothing else does.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tlbench.canonical import added, digest
from tlbench.setups import ModelRef, Setup
from tlbench.strategy import ExternalData
from tlbench.task import Budget, TaskRef

PROTOCOL = "tlbench-2"
"""Version of everything that the core decides and that can move a score. Raised when such code changes."""

PrecisionPolicy = Literal["auto", "fp32", "bf16"]


@dataclass(frozen=True)
class StrategyPart:
    """One strategy of a composition, with its resolved hyperparameters and, for file plugins, its source hash."""

    name: str
    version: int
    config: Mapping[str, Any]
    source: str | None = None


@dataclass(frozen=True)
class StrategyRef:
    """The strategy of a cell; `name` is its label, for example `lora(rank=4)`."""

    name: str
    parts: tuple[StrategyPart, ...]
    transfers: bool
    external_data: ExternalData


@dataclass(frozen=True)
class Condition:
    """A cell without its replicate: one table entry, one verdict."""

    task: TaskRef
    model: ModelRef | None
    strategy: StrategyRef
    setup: Setup
    budget: Budget
    precision: PrecisionPolicy = "auto"
    protocol: str = PROTOCOL
    label_noise: float = added(0.0)

    @property
    def title(self) -> str:
        """Name the condition for people."""
        model = self.model.name if self.model else "-"
        return f"{self.task.name} @{labels_name(self.budget, self.label_noise)} | {model} | {self.strategy.name}"


def labels_name(budget: Budget, label_noise: float = 0.0) -> str:
    """Name the labels of a condition: `300`, or `300~0.1` where a tenth of them is made wrong."""
    return f"{budget}~{label_noise:g}" if label_noise else f"{budget}"


@dataclass(frozen=True)
class Cell:
    """One training and evaluation: a condition and the replicate that redraws subset, init, order and dropout."""

    condition: Condition
    replicate: int

    @property
    def key(self) -> str:
        """Return the documented, versioned identity: 32 hex digits of the SHA-256 of the canonical JSON."""
        return digest(self, 32)

    @property
    def title(self) -> str:
        """Name the cell for people."""
        return f"{self.condition.title} | r{self.replicate}"


def stream(cell: Cell, purpose: str) -> int:
    """Return the seed of one random stream of a cell, 0 <= seed < 2**63.

    Streams depend on protocol, task, budget, replicate and purpose, never on the strategy, so that conditions
    are paired wherever they can be; only a Setup's seed redraws them.
    """
    condition = cell.condition
    again = f"|seed {condition.setup.seed}" if condition.setup.seed else ""
    text = f"{condition.protocol}|{condition.task.name}|{condition.budget}|{cell.replicate}|{purpose}{again}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def subset(cell: Cell, ids: Sequence[str], has_validation: bool) -> tuple[list[int], list[int]]:
    """Draw the training and validation examples of a cell.

    The order is that of SHA-256(protocol, task, replicate, id), so it depends neither on the file's order nor
    on the budget, and budgets nest. Of every five consecutive examples the fifth is validation.

    Args:
        cell: The cell.
        ids: Ids of the training split.
        has_validation: Whether the task has an official validation split (used by the budget `full`).

    Returns:
        Positions of the training and of the validation examples in `ids`.
    """
    condition = cell.condition
    prefix = f"{condition.protocol}|{condition.task.name}|{cell.replicate}|subset|"
    order = sorted(range(len(ids)), key=lambda i: hashlib.sha256(f"{prefix}{ids[i]}".encode()).digest())
    if condition.budget == "full":
        if has_validation:
            return order, []
    else:
        order = order[: condition.budget]
    return (
        [i for place, i in enumerate(order) if place % 5 != 4],
        [i for place, i in enumerate(order) if place % 5 == 4],
    )
