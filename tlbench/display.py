"""Progress on the terminal (rich), and plain lines where there is none, so that a log file reads well too."""

from __future__ import annotations

import time
from collections import defaultdict
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from tlbench.grid import Cell
from tlbench.records import Record

_TABLE_EVERY = 20.0
"""Seconds between two prints of the growing table."""


class Display:
    """Tells which cell runs, how far it is, and shows the table as it grows; writes to standard error."""

    def __init__(self, quiet: bool = False) -> None:
        """Prepare; nothing is shown before the first cell."""
        self.console = Console(stderr=True, quiet=quiet)
        self.bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
        )
        self.scores: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        self.running: Any = None
        self.place: dict[str, tuple[int, int]] = {}
        self.shown = time.monotonic()
        self.changed = False

    def __enter__(self) -> Display:
        """Start the bar."""
        self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the bar and show the last table."""
        self.bar.stop()
        if self.changed:
            self._show()

    def started(self, cell: Cell, number: int, total: int) -> None:
        """Show which cell begins."""
        self.place[cell.key] = (number, total)
        if self.running is not None:
            self.bar.remove_task(self.running)
        self.running = self.bar.add_task(escape(f"[{number}/{total}] {cell.title}"), total=1.0)

    def progress(self, share: float) -> None:
        """Move the bar of the current cell."""
        if self.running is not None:
            self.bar.update(self.running, completed=share)

    def finished(self, record: Record) -> None:
        """Print one line for a finished cell, and now and then the table."""
        number, total = self.place.get(record.key, (0, 0))
        self.console.print(
            f"[{number}/{total}] {record.title} | r{record.replicate}  {self._result(record)}  {record.key[:8]}",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
        if record.evaluation:
            value = record.evaluation.score
            column, row = record.title.split(" | ", 1)
            self.scores[row][column].append(value)
            self.changed = True
        if time.monotonic() - self.shown > _TABLE_EVERY and self.changed:
            self._show()

    @staticmethod
    def _result(record: Record) -> str:
        seconds = record.cost["seconds"]["total"]
        if record.evaluation is None:
            return f"{record.status.upper()}: {record.reason}"
        value = record.evaluation.score
        note = f" COLLAPSED: {record.reason}" if record.status == "collapsed" else ""
        return f"{record.evaluation.primary} {value:.3f}  {seconds:.1f} s{note}"

    def _show(self) -> None:
        self.shown, self.changed = time.monotonic(), False
        tasks = list(dict.fromkeys(task for row in self.scores.values() for task in row))
        table = Table(title="so far: mean score (replicates)", title_style="", box=None)
        for heading in ("model | strategy", *tasks):
            table.add_column(escape(heading), overflow="fold")
        for name, row in self.scores.items():
            cells = (
                f"{sum(row[task]) / len(row[task]):.3f} ({len(row[task])})" if task in row else "" for task in tasks
            )
            table.add_row(escape(name), *cells)
        self.console.print(table)
