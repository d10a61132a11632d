"""The cache of a parsed corpus: gzipped JSON Lines, a header first, so that identity needs one line of it."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

from tlbench.errors import UserError
from tlbench.sources import DataSource, held

Rows = Sequence[Sequence[Any]]
Prepare = Callable[[], tuple[Rows, Mapping[str, Any]]]


def prepared(source: DataSource, name: str, found: Sequence[metadata.Distribution], prepare: Prepare) -> Path:
    """Return the cache file of a corpus, made by `prepare` unless these packages were parsed before.

    The file's name is a hash of what the corpus is made of: the packages' RECORD files and the parsing code.

    Args:
        source: Holds the cache folder.
        name: Name of the corpus.
        found: Distributions the corpus is read from.
        prepare: Returns the rows (JSON types) and counts for the header.

    Raises:
        UserError: the cache folder cannot be written.
    """
    path = source.cache / name / f"{_key(found)}.jsonl.gz"
    if path.is_file():
        return path
    with ExitStack() as lock:
        with _writing(path):
            lock.enter_context(held(path.with_suffix(".lock")))
        if not path.is_file():  # another process may have made it meanwhile
            rows, counts = prepare()
            lines = [json.dumps(row).encode() for row in rows]
            header = {"packages": {one.metadata["Name"]: one.version for one in found},
                      "fingerprint": hashlib.sha256(b"\n".join(lines)).hexdigest(), "counts": counts}
            with _writing(path):
                _write(path, [json.dumps(header).encode(), *lines])
    return path


def header(path: Path) -> Mapping[str, Any]:
    """Return `packages` (name to version), `fingerprint` (SHA-256 of the rows) and `counts`.

    Raises:
        UserError: the cache file is damaged.
    """
    found: Mapping[str, Any] = next(_lines(path))
    return found


def rows(path: Path) -> Iterator[list[Any]]:
    """Yield the rows that `prepared` wrote.

    Raises:
        UserError: the cache file is damaged.
    """
    lines = _lines(path)
    next(lines)
    yield from lines


def _lines(path: Path) -> Iterator[Any]:
    try:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            yield from map(json.loads, file)
    except (OSError, EOFError, ValueError) as error:
        raise UserError(f"the parsed text in {str(path)!r} is damaged: delete the file, "
                        "the next run makes it again") from error


def _key(found: Sequence[metadata.Distribution]) -> str:
    state = hashlib.sha256()
    for module in sorted(Path(__file__).parent.glob("*.py")):
        state.update(module.read_bytes())
    for one in found:
        state.update(f"{one.metadata['Name']} {one.version}\n{one.read_text('RECORD')}".encode())
    return state.hexdigest()[:32]


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Say what to do where the cache cannot be written."""
    try:
        yield
    except OSError as error:
        raise UserError(f"cannot write the parsed text to {str(path.parent)!r} ({error.strerror}): "
                        "set TLBENCH_CACHE to a folder that can be written") from error


def _write(path: Path, lines: Sequence[bytes]) -> None:
    """Write the file atomically: readers see all of it or none."""
    handle, name = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
    with os.fdopen(handle, "wb") as raw, gzip.open(raw, "wb", compresslevel=3) as file:
        file.write(b"\n".join(lines))
    os.replace(name, path)
