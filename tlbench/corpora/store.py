"""The cache of a parsed corpus: gzipped JSON Lines, a header first, so that identity needs one line of it."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from importlib import metadata
from pathlib import Path
from typing import Any

from tlbench.errors import UserError
from tlbench.files import held, write_cache, writing_to_cache
from tlbench.sources import DataSource

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
        with writing_to_cache(path.parent):
            lock.enter_context(held(path.with_suffix(".lock")))
        if not path.is_file():  # another process may have made it meanwhile
            rows, counts = prepare()
            lines = [json.dumps(row).encode() for row in rows]
            header = {"packages": {one.metadata["Name"]: one.version for one in found},
                      "fingerprint": hashlib.sha256(b"\n".join(lines)).hexdigest(), "counts": counts}
            write_cache(path, gzip.compress(b"\n".join([json.dumps(header).encode(), *lines]), compresslevel=3))
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


def code() -> str:
    """Return the SHA-256 of this package's source, which decides what is read out of documentation."""
    state = hashlib.sha256()
    for module in sorted(Path(__file__).parent.glob("*.py")):
        state.update(module.read_bytes())
    return state.hexdigest()


def _key(found: Sequence[metadata.Distribution]) -> str:
    state = hashlib.sha256(code().encode())
    for one in found:
        state.update(f"{one.metadata['Name']} {one.version}\n{one.read_text('RECORD')}".encode())
    return state.hexdigest()[:32]
