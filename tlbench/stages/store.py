"""Artefacts on disk, keyed by the content they were made from, never by time or name."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlbench.canonical import digest
from tlbench.files import share

Arrays = Mapping[str, NDArray[np.generic]]


class StageStore:
    """A folder of arrays: `<root>/<stage>/<digest of what made them>/<name>.npy`, mapped into memory."""

    def __init__(self, root: Path) -> None:
        """Remember the root; it is made when something is stored."""
        self.root = root

    def holds(self, stage: str, made_from: Any) -> bool:
        """Return whether the arrays that `made_from` determines are there."""
        return self.path(stage, made_from).is_dir()

    def get_or_make(self, stage: str, made_from: Any, make: Callable[[], Arrays]) -> Arrays:
        """Return the arrays that `made_from` determines, computing them if they are not there yet.

        Args:
            stage: Name of the computing step.
            made_from: Everything the arrays depend on; must have a canonical JSON form.
            make: Computes the arrays; a disk that is full costs the reuse, not the result.
        """
        folder = self.path(stage, made_from)
        if not folder.is_dir():
            made = make()
            try:
                _store(folder, made)
            except OSError:
                return made
        return {path.stem: np.load(path, mmap_mode="c", allow_pickle=False) for path in sorted(folder.glob("*.npy"))}

    def path(self, stage: str, made_from: Any) -> Path:
        """Return the folder of what `made_from` determines, whether it is there yet or not."""
        return self.root / stage / digest(made_from, 40)


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


def _store(folder: Path, arrays: Arrays) -> None:
    """Write all arrays under a temporary name and rename the folder: it is there whole or not at all."""
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
