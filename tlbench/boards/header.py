"""How the records of a board were made: protocol, versions, machines, commands."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from tlbench.boards.values import Header
from tlbench.canonical import canonical_json
from tlbench.records import Record

_SHOWN = ("torch", "transformers", "tokenizers", "peft", "accelerate", "datasets", "evaluate", "scikit-learn",
          "sacrebleu", "rouge-score", "numpy")
"""Packages named on the board; records hold them all."""


def header(records: Sequence[Record], resamples: int) -> Header:
    """Collect what the records say about how they were made.

    Args:
        records: All records of the folder, those of repeated cells included.
        resamples: Bootstrap resamples behind the intervals of corpus metrics.
    """
    return Header(
        protocols=_distinct(records, lambda r: r.protocol.get("id")),
        tiers=_distinct(records, lambda r: r.protocol.get("tier")),
        overrides=_distinct(records, lambda r: _pairs(r.protocol.get("overrides"))),
        versions=_distinct(records, _version),
        packages=_packages(records),
        systems=_distinct(records, _system),
        hardware=_distinct(records, lambda r: r.environment.get("hardware")),
        numerics=_distinct(records, _numerics),
        commands=_distinct(records, lambda r: r.environment.get("command")),
        n_records=len(records),
        retried=_retried(records),
        resamples=resamples,
    )


def _distinct(records: Iterable[Record], read: Callable[[Record], Any]) -> tuple[str, ...]:
    return tuple(sorted({str(value) for value in map(read, records) if value}))


def _pairs(facts: Mapping[str, Any] | None) -> str:
    return ", ".join(f"{key}={value}" for key, value in sorted((facts or {}).items()))


def _version(record: Record) -> str:
    facts = record.environment
    commit = facts.get("commit")
    dirty = " with uncommitted changes" if facts.get("dirty") else ""
    return f"tlbench {facts.get('tlbench')}" + (f" ({str(commit)[:12]}{dirty})" if commit else "")


def _system(record: Record) -> str:
    facts = record.environment
    return f"Python {facts.get('python')} on {facts.get('os')}"


def _numerics(record: Record) -> str:
    """Describe the numerics class of a neural record; other learners have none."""
    facts = record.numerics
    if facts.get("class") in (None, "none"):
        return ""
    shown = [
        f"{name} {facts[name]}" for name in ("dtype", "device", "isa", "world", "threads") if name in facts
    ]
    return f"{facts['class']}: {', '.join(shown)}"


def _packages(records: Sequence[Record]) -> dict[str, tuple[str, ...]]:
    texts = {canonical_json(record.environment.get("packages", {})): record for record in records}
    found: dict[str, set[str]] = {}
    for record in texts.values():
        for name, version in record.environment.get("packages", {}).items():
            if name in _SHOWN:
                found.setdefault(name, set()).add(str(version))
    return {name: tuple(sorted(found[name])) for name in _SHOWN if name in found}


def _retried(records: Sequence[Record]) -> int:
    """Count failed attempts of cells that have another result."""
    finished = {record.key for record in records if record.status != "failed"}
    return sum(1 for record in records if record.status == "failed" and record.key in finished)
