"""From cells to records: what is done already, who runs the rest, what is stored and shown."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from tlbench.cells import Shop, failed, run_cell
from tlbench.errors import UserError
from tlbench.grid import Cell
from tlbench.planning import Plan
from tlbench.records import Outcome, Record, Store


class Reporter(Protocol):
    """Who is told how a run goes."""

    def started(self, cell: Cell, number: int, total: int) -> None:
        """Note that a cell begins; `number` counts from 1."""

    def finished(self, record: Record) -> None:
        """Note that a cell's record is written."""

    def progress(self, share: float) -> None:
        """Note how far the current cell is, 0..1."""


class Silent:
    """A reporter that says nothing."""

    def started(self, cell: Cell, number: int, total: int) -> None:
        """Say nothing."""

    def finished(self, record: Record) -> None:
        """Say nothing."""

    def progress(self, share: float) -> None:
        """Say nothing."""


@dataclass(frozen=True)
class Todo:
    """What a run has to do.

    Attributes:
        cells: Cells without a record, in order.
        done: Number of cells that have one.
        unsupported: Key to reason, for cells that get a record without running.
    """

    cells: tuple[Cell, ...]
    done: int
    unsupported: dict[str, str] = field(default_factory=dict)


def todo(plan: Plan, store: Store, retry_failed: bool = False) -> Todo:
    """Return which cells of a plan have no record yet; reads file names only, unless failures are retried."""
    keys = store.keys()
    if retry_failed:
        finished = {record.key for record in store.load() if record.status != "failed"}
        keys &= finished
    open_cells = tuple(cell for cell in plan.cells if cell.key not in keys)
    return Todo(open_cells, len(plan.cells) - len(open_cells), plan.unsupported)


def run_here(work: Todo, shop: Shop, store: Store, reporter: Reporter) -> list[Record]:
    """Run the open cells one after the other in this process (on all of its ranks in step).

    Raises:
        UserError: a record cannot be stored; what was finished before stays.
    """
    records = []
    first = shop.place.rank == 0
    for number, cell in enumerate(work.cells, start=1):
        if first:
            reporter.started(cell, work.done + number, work.done + len(work.cells))
        outcome = outcome_of(cell, work, shop)
        if first:
            records.append(store.write(outcome))
            reporter.finished(records[-1])
    return records


def outcome_of(cell: Cell, work: Todo, shop: Shop) -> Outcome:
    """Run one cell, or state why it is not run."""
    if cell.key in work.unsupported:
        outcome = failed(cell, shop, work.unsupported[cell.key])
        return Outcome({**outcome.facts, "status": "unsupported"})
    return run_cell(cell, shop)


@contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Hold a results folder for this run; the lock goes with the process, however it ends.

    Raises:
        UserError: another run holds it, or the folder cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise UserError(
            f"results folder {str(folder)!r} cannot be written to ({error.strerror}): mend its "
            "permissions, free some space, or give another --out"
        ) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(handle)
        raise UserError(
            f"another run is writing to {str(folder)!r}: wait for it to end, or give another --out"
        ) from error
    try:
        yield
    finally:
        os.close(handle)


def fresh_folder(folder: Path) -> Path:
    """Return the first of `folder`, `folder-2`, `folder-3` ... that does not exist; nothing is ever deleted."""
    number, candidate = 2, folder
    while candidate.exists():
        candidate, number = folder.with_name(f"{folder.name}-{number}"), number + 1
    return candidate


Executor = Callable[[Todo, Store, Reporter], Sequence[Record]]
