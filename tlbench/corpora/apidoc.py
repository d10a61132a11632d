"""The embedded corpus `apidoc`: docstrings of a fixed list of packages under one split map.

Everything that trains on this text (tasks, pre-training, unlabelled streams) sees the training side only. The
side is a hash of the documented top-level object, so that a class and its members never part.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

from tlbench.corpora import distributions, store
from tlbench.corpora.parse import Docstring, parse_files
from tlbench.corpora.split import is_test, separate, without_test_passages
from tlbench.sources import DataSource

PACKAGES = ("accelerate", "datasets", "huggingface_hub", "networkx", "nltk", "numpy", "pandas", "peft",
            "scikit-learn", "scipy", "sympy", "torch", "transformers")
"""tlbench's own dependencies and theirs: what is documented well and installed anyway."""
LICENCE = "BSD-3-Clause and Apache-2.0 (documentation of the listed packages)"
_REMEDY = "run pip install tlbench, which brings it"


@dataclass(frozen=True)
class Corpus:
    """The docstrings of both sides, sorted by name, one copy of each text.

    Attributes:
        train: What anything may train on: no text of it repeats or nearly repeats one of the test side.
        test: What tests are made of, and nothing else.
        provenance: `packages` (versions), `fingerprint` (SHA-256 of the rows) and `counts`.
    """

    train: tuple[Docstring, ...]
    test: tuple[Docstring, ...]
    provenance: Mapping[str, Any]


def corpus(source: DataSource) -> Corpus:
    """Return the corpus, parsed once per set of installed packages (about 30 s on two cores) and cached.

    Raises:
        UserError: a listed package is missing, or the cache folder cannot be written.
    """
    return _read(_prepared(source))


def provenance(source: DataSource) -> Mapping[str, Any]:
    """Return `packages` (name to version), `fingerprint` (SHA-256 of the rows) and `counts`.

    Raises:
        UserError: as `corpus`.
    """
    return store.header(_prepared(source))


def identity(source: DataSource) -> Mapping[str, Any]:
    """Return what pins the rows: the hash of their content. Package versions are provenance, not identity."""
    return {"apidoc": provenance(source)["fingerprint"]}


def unavailable(source: DataSource) -> str | None:
    """Return why the corpus cannot be read here, in one sentence, or `None`."""
    absent = distributions.missing(PACKAGES)
    return f"the documentation of {', '.join(absent)} is not installed: {_REMEDY}" if absent else None


def training_texts(source: DataSource) -> list[str]:
    """Return the documents of the training side, for pre-training and unlabelled streams.

    Passages that are known from the test side are cut out (about 10 s).
    """
    found = corpus(source)
    return without_test_passages(found.train, found.test)


def _prepared(source: DataSource) -> Path:
    found = [distributions.require(name, _REMEDY) for name in PACKAGES]
    return store.prepared(source, "apidoc", found, lambda: _prepare(found))


def _prepare(found: Sequence[metadata.Distribution]) -> tuple[list[tuple[Any, ...]], dict[str, int]]:
    """Parse, split and remove duplicates; return the rows kept and the counts."""
    files = [file for one in found for file in distributions.python_files(one)]
    parsed, skipped = parse_files(files)
    kept, removed = separate(parsed)
    return [astuple(row) for row in kept], {"files": len(files), "files_unreadable": skipped,
                                            "docstrings": len(parsed), "kept": len(kept), **removed}


@lru_cache(maxsize=1)
def _read(path: Path) -> Corpus:
    found = [Docstring(name, owner, kind, tuple(parameters), text)
             for name, owner, kind, parameters, text in store.rows(path)]
    return Corpus(tuple(row for row in found if not is_test(row.owner)),
                  tuple(row for row in found if is_test(row.owner)), store.header(path))
