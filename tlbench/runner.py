"""From cells to records: what is done already, who runs the rest, what is stored and shown."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Protocol

from tlbench.attempts import ENOUGH, Attempts, reason
from tlbench.canonical import storable
from tlbench.cells import Shop, failed, run_cell
from tlbench.errors import RankLostError, UserError, unwritable
from tlbench.grid import Cell
from tlbench.planning import Plan
from tlbench.records import Outcome, Record, Status, Store


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
        lost: Key to the number of earlier attempts during which the process was killed.
    """

    cells: tuple[Cell, ...]
    done: int
    unsupported: dict[str, str] = field(default_factory=dict)
    lost: dict[str, int] = field(default_factory=dict)

    def refusal(self, key: str) -> tuple[Status, str] | None:
        """Return status and reason of a cell that gets a record without running; `None` for one that runs."""
        if key in self.unsupported:
            return "unsupported", self.unsupported[key]
        lost = self.lost.get(key, 0)
        return ("failed", reason(lost)) if lost >= ENOUGH else None

    def attempts(self, key: str) -> int:
        """Return how often a cell was started by the time its record is written."""
        return self.lost.get(key, 0) + (self.refusal(key) is None)


def todo(plan: Plan, store: Store, retry_failed: bool = False) -> Todo:
    """Return which cells of a plan have no record yet; reads file names only, unless failures are retried.

    Raises:
        UserError: the folder cannot be read, or failures are retried and a record was changed.
    """
    keys = store.keys()
    if retry_failed:
        finished = {record.key for record in store.load() if record.status != "failed"}
        keys &= finished
    open_cells = tuple(cell for cell in plan.cells if cell.key not in keys)
    return Todo(open_cells, len(plan.cells) - len(open_cells), plan.unsupported, Attempts(store.folder).lost())


class Ledger:
    """What a run notes of its cells: that one begins, and its record.

    Leaving it takes back the marks of the cells in flight: whoever gets here was not killed.

    Attributes:
        records: The records written so far.
    """

    def __init__(self, work: Todo, store: Store, reporter: Reporter) -> None:
        """Note nothing yet."""
        self.records: list[Record] = []
        self._work, self._store, self._reporter = work, store, reporter
        self._attempts = Attempts(store.folder)
        self._begun = work.done

    def __enter__(self) -> Ledger:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take back what is in flight, unless a rank was lost: that is what marks are for."""
        if kind is None or not issubclass(kind, RankLostError):
            self._attempts.take_back()

    def begin(self, cell: Cell) -> None:
        """Note that a cell begins.

        Raises:
            UserError: the mark cannot be stored.
        """
        self._begun += 1
        self._reporter.started(cell, self._begun, self._work.done + len(self._work.cells))
        if self._work.refusal(cell.key) is None:
            self._attempts.begin(cell.key)

    def finish(self, outcome: Outcome) -> None:
        """Store a cell's outcome; only then its marks go.

        Raises:
            UserError: the record cannot be stored; what was finished before stays.
        """
        key = outcome.facts["key"]
        facts = {**outcome.facts, "attempts": self._work.attempts(key)}
        try:
            record = self._store.write(Outcome(facts, outcome.predictions))
        except (ValueError, TypeError) as error:  # a plugin's facts that are no JSON must not stop the grid
            found = " ".join(str(error).split())[:200]
            why = f"what it returned cannot be stored ({found}): correct the plugin or the data"
            bare = {**facts, "status": "failed", "reason": why, "evaluation": None, "training": {}}
            record = self._store.write(Outcome(storable(bare)))
        self.records.append(record)
        self._attempts.end(key)
        self._reporter.finished(self.records[-1])


def run_here(work: Todo, shop: Shop, store: Store, reporter: Reporter) -> list[Record]:
    """Run the open cells one after the other in this process (on all of its ranks in step).

    Raises:
        UserError: a record cannot be stored; what was finished before stays.
        RankLostError: among several ranks, one failed where the others could not notice; the cell's mark stays.
    """
    first = shop.place.rank == 0
    with Ledger(work, store, reporter) as ledger:
        for cell in work.cells:
            if first:
                ledger.begin(cell)
            outcome = outcome_of(cell, work, shop)
            if first:
                ledger.finish(outcome)
    return ledger.records


def outcome_of(cell: Cell, work: Todo, shop: Shop) -> Outcome:
    """Run one cell, or state why it is not run."""
    refusal = work.refusal(cell.key)
    if refusal is None:
        return run_cell(cell, shop)
    status, why = refusal
    return Outcome({**failed(cell, shop, why).facts, "status": status})


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
        raise unwritable(folder, error) from error
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
