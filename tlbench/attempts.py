"""Attempt marks: which cells were begun in a results folder and left no record, because their process was killed.

One empty file per attempt, `attempts/<cell key>-<number>`: made before the cell starts, removed once its record is
written or when the run ends of its own accord. What is left was left by a kill.
"""

from __future__ import annotations

import os
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from types import FrameType
from typing import NoReturn

from tlbench.errors import unwritable

ENOUGH = 2
"""Kills during one cell after which it is not started again; a single one may be a user's, or a power cut."""


class Attempts:
    """The attempt marks of one results folder; only the process that holds the folder's lock writes them."""

    def __init__(self, folder: Path) -> None:
        """Remember the folder; nothing is created before the first cell begins."""
        self.folder, self.marks = folder, folder / "attempts"
        self._open: dict[str, Path] = {}

    def lost(self) -> dict[str, int]:
        """Return how many attempts at a cell ended in a kill, by cell key; cells without one are left out.

        Raises:
            UserError: the marks cannot be read.
        """
        try:
            names = os.listdir(self.marks)
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise unwritable(self.folder, error) from error
        return dict(Counter(name.partition("-")[0] for name in names))

    def begin(self, key: str) -> None:
        """Note that a cell is being tried.

        Raises:
            UserError: the folder cannot be written to or the disk is full.
        """
        try:
            self.marks.mkdir(parents=True, exist_ok=True)
            for number in count(1):
                mark = self.marks / f"{key}-{number}"
                with suppress(FileExistsError):
                    mark.touch(exist_ok=False)
                    break
        except OSError as error:
            raise unwritable(self.folder, error) from error
        self._open[key] = mark

    def end(self, key: str) -> None:
        """Remove all marks of a cell whose record is written.

        Raises:
            UserError: the folder cannot be written to any more.
        """
        self._open.pop(key, None)
        try:
            for mark in self.marks.glob(f"{key}-*"):
                mark.unlink()
        except OSError as error:
            raise unwritable(self.folder, error) from error
        self._tidy()

    def take_back(self) -> None:
        """Remove the marks of the cells in flight: the run ends, and no cell is to blame; earlier marks stay."""
        with suppress(OSError):  # the error that ends the run is the one to show
            while self._open:
                self._open.popitem()[1].unlink(missing_ok=True)
        self._tidy()

    def _tidy(self) -> None:
        with suppress(OSError):  # other cells still have marks
            self.marks.rmdir()


def reason(lost: int) -> str:
    """Return why a cell is not started again, for its record."""
    return (
        f"the process died {lost} times during this cell (killed, or out of memory), so it was not started again: "
        "--retry-failed tries it once more"
    )


@contextmanager
def unwinding(wanted: bool = True) -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the process through its `finally` clauses, so that marks are taken back.

    A signal that something else handles already is left alone; the second one ends the process at once.

    Args:
        wanted: Whether to do so at all; in a thread other than the main one it cannot be done.
    """
    before = {}
    if wanted and threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is signal.SIG_DFL:
                before[number] = signal.signal(number, _unwind)
    try:
        yield
    finally:
        for number, action in before.items():
            signal.signal(number, action)


class Ended(SystemExit):
    """A signal ends the process; any other SystemExit is a plugin's doing."""


def _unwind(number: int, frame: FrameType | None) -> NoReturn:
    signal.signal(number, signal.SIG_DFL)
    raise Ended(128 + number)
