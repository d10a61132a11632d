"""Files of installed distributions, found through their metadata and never imported."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import metadata
from pathlib import Path, PurePosixPath

from tlbench.corpora.parse import SourceFile
from tlbench.errors import UserError

_SKIPPED = {"tests", "test", "_internal", ".."}
"""Test suites (torch keeps its own under `testing/_internal`) and scripts outside any package."""


def find(name: str) -> metadata.Distribution | None:
    """Return the installed distribution, or `None` if it or its list of files is missing."""
    try:
        found = metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return None
    return found if found.read_text("RECORD") is not None else None


def missing(names: Iterable[str]) -> list[str]:
    """Return the distributions that are not installed (or came without their list of files)."""
    return [name for name in names if find(name) is None]


def require(name: str, remedy: str) -> metadata.Distribution:
    """Return the installed distribution.

    Raises:
        UserError: it is not installed.
    """
    found = find(name)
    if found is None:
        raise UserError(f"the embedded text needs the package {name!r}, which is not installed: {remedy}")
    return found


def files(found: metadata.Distribution, suffix: str) -> list[PurePosixPath]:
    """Return the paths with this suffix inside the distribution, sorted."""
    return sorted(PurePosixPath(str(path)) for path in found.files or () if str(path).endswith(suffix))


def python_files(found: metadata.Distribution) -> list[SourceFile]:
    """Return the distribution's Python files without its tests."""
    located = [(path, Path(str(found.locate_file(str(path))))) for path in files(found, ".py")
               if _wanted(path)]
    return [SourceFile(_module(path), str(place)) for path, place in located if place.is_file()]


def _module(path: PurePosixPath) -> str:
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _wanted(path: PurePosixPath) -> bool:
    folders = path.parts[:-1]
    return bool(folders) and not _SKIPPED & set(folders) and path.name != "conftest.py"
