"""Artefacts on disk, keyed by the content they were made from, never by time or name."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tlbench.canonical import digest
from tlbench.files import held, share

Arrays = Mapping[str, NDArray[np.generic]]


class Ranks(Protocol):
    """Processes that run one cell in step; `world` of them, of which this is number `rank`."""

    rank: int
    world: int

    def gather(self, items: Sequence[Any]) -> list[Any]:
        """Return the items of all ranks, on every rank."""


class StageStore:
    """A folder of arrays: `<root>/<stage>/<digest of what made them>/<name>.npy`, mapped into memory."""

    def __init__(self, root: Path) -> None:
        """Remember the root; it is made when something is stored."""
        self.root = root

    def holds(self, stage: str, made_from: Any) -> bool:
        """Return whether the arrays that `made_from` determines are there, and can be read."""
        return _opened(self.path(stage, made_from)) is not None

    def get_or_make(self, stage: str, made_from: Any, make: Callable[[], Arrays]) -> Arrays:
        """Return the arrays that `made_from` determines, computing them if they are not there yet, or damaged.

        Args:
            stage: Name of the computing step.
            made_from: Everything the arrays depend on; must have a canonical JSON form.
            make: Computes the arrays; a disk that is full costs the reuse, not the result.
        """
        folder = self.path(stage, made_from)
        found = _opened(folder)
        if found is not None:
            return found
        made = make()
        try:
            _store(folder, made)
        except OSError:
            return made
        found = _opened(folder)
        return made if found is None else found

    def in_step(self, stage: str, made_from: Any, make: Callable[[], Arrays], ranks: Ranks) -> tuple[Arrays, bool]:
        """Return a stage's arrays and whether they were there already; all ranks take the same way.

        Args:
            stage: Name of the computing step.
            made_from: Everything the arrays depend on; must have a canonical JSON form.
            make: Computes the arrays, on all ranks in step. A worker that asks for what another one is making waits
                for it; several ranks never wait, since those without the lock would stand in a collective.
            ranks: Who asks.
        """
        with ExitStack() as lock:
            if ranks.world == 1:
                with suppress(OSError):
                    lock.enter_context(held(self.path(stage, made_from).with_suffix(".lock")))
            there = all(ranks.gather([self.holds(stage, made_from)]))
            if there:
                return self.get_or_make(stage, made_from, make), True
            made = make()
            return (self.get_or_make(stage, made_from, lambda: made) if ranks.rank == 0 else made), False

    def path(self, stage: str, made_from: Any) -> Path:
        """Return the folder of what `made_from` determines, whether it is there yet or not."""
        return self.root / stage / digest(made_from, 40)


def stage_store(cache: Path) -> StageStore:
    """Return the stage store inside the cache folder."""
    return StageStore(cache / "stages")


def replace_folder(folder: Path, name: str, write: Callable[[Path], None]) -> None:
    """Let `write` fill a new folder beside `folder` and put it in its place; it is there whole or not at all.

    Args:
        folder: What is replaced, if it exists.
        name: Tells the temporary folders of different writers apart; leftovers of a killed one are removed.
        write: Fills the folder.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    fresh, old = (folder.with_name(f".{folder.name}.{name}.{end}") for end in ("partial", "old"))
    for leftover in (fresh, old):
        shutil.rmtree(leftover, ignore_errors=True)
    fresh.mkdir()
    try:
        write(fresh)
        if folder.exists():
            os.rename(folder, old)
        os.rename(fresh, folder)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def _opened(folder: Path) -> Arrays | None:
    """Return the arrays in a folder, mapped into memory; `None` if none is there or one is no array or cut short."""
    files = sorted(folder.glob("*.npy"))
    try:
        return {path.stem: np.load(path, mmap_mode="c", allow_pickle=False) for path in files} or None
    except (ValueError, EOFError):
        return None


def _store(folder: Path, arrays: Arrays) -> None:
    """Write all arrays under a temporary name and rename the folder: it is there whole or not at all."""
    if folder.is_dir() and _opened(folder) is None:
        shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".tmp-"))
    try:
        share(temporary)
        for name, array in arrays.items():
            np.save(temporary / f"{name}.npy", array, allow_pickle=False)
        try:
            os.rename(temporary, folder)
        except OSError:
            if not folder.is_dir():  # another process may have stored the same content first
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
