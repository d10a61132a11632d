"""The record: one immutable JSON file per cell, and beside it a Parquet file with predictions and statistics.

File name = cell key + content hash; written under a temporary name, flushed and renamed, so that a record is
there whole or not at all and none is ever overwritten. Boards are computed from these files and nothing else.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from tlbench.canonical import digest
from tlbench.errors import UserError, unwritable
from tlbench.files import file_sha256, write_atomically
from tlbench.grid import labels_name

if TYPE_CHECKING:
    import pandas as pd

SCHEMA = 1
Status = Literal["ok", "collapsed", "failed", "unsupported"]
Facts = dict[str, Any]


class Evaluation(BaseModel):
    """Scores of one cell.

    Attributes:
        primary: Name of the primary metric.
        metrics: Metric name to `value`, `signature` and `higher_is_better`, on the test split.
        validation: Metric name to value on the cell's validation examples; baselines are chosen by these.
        n_test_evals: How often the test split was read: once.
        report: Per-class scores and confusion, as the kind reports them.
    """

    model_config = ConfigDict(extra="allow")

    primary: str
    metrics: dict[str, Facts]
    validation: dict[str, float]
    n_test_evals: int = 1
    report: Facts = {}

    @property
    def score(self) -> float:
        """Return the primary metric on the test split."""
        return float(self.metrics[self.primary]["value"])


class Record(BaseModel):
    """The result of one cell. Missing fields are refused, unknown ones are kept.

    Groups follow `docs/record.md`: what was asked for (`cell`), what was used (`task`, `budget`, `model`,
    `strategy`), what happened (`training`, `evaluation`, `cost`), what answered (`numerics`, `environment`),
    and the keys that say what may be compared (`comparability`, `pairing`, `cost_key`). `attempts` is how often
    the cell was started.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    schema_version: Literal[1]
    key: str
    cell: Facts
    status: Status
    reason: str | None
    protocol: Facts
    task: Facts
    budget: Facts
    replicate: int
    model: Facts | None
    strategy: Facts
    training: Facts
    evaluation: Evaluation | None
    predictions: Facts | None
    cost: Facts
    numerics: Facts
    environment: Facts
    contamination: Facts
    comparability: str
    pairing: str
    cost_key: str
    attempts: int = 1

    @property
    def labels(self) -> str:
        """Name the labels it learned from: their number, and the share made wrong, if any."""
        return labels_name(self.budget["k"], float(self.budget.get("label_noise", 0.0)))

    @property
    def title(self) -> str:
        """Name the condition for people, as `tlbench.grid.Condition.title` does."""
        model = self.model["name"] if self.model else "-"
        return f"{self.task['name']} @{self.labels} | {model} | {self.strategy['name']}"

    @property
    def condition(self) -> str:
        """Return the digest of the cell without its replicate."""
        return digest(self.cell["condition"], 32)


@dataclass(frozen=True)
class Outcome:
    """What a cell returns: the record's fields, and its predictions as a table (none without an evaluation).

    The table has `example_id`, `group_id`, `prediction` (JSON text) and one float column `metric:column` for
    each sufficient statistic.
    """

    facts: Mapping[str, Any]
    predictions: pd.DataFrame | None = None


class Store:
    """The records of one results folder."""

    def __init__(self, folder: Path) -> None:
        """Remember the folder; nothing is created before the first record."""
        self.folder = folder
        self.records = folder / "records"

    def names(self, ending: str = ".json") -> list[str]:
        """Return the names of all record files (or of their predictions, `.parquet`), sorted.

        Raises:
            UserError: the folder cannot be read.
        """
        try:
            names = os.listdir(self.records)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise UserError(f"{str(self.records)!r} cannot be read ({error.strerror}): mend its permissions, or give "
                            "another folder") from error
        return sorted(name for name in names if name.endswith(ending) and not name.startswith("."))

    def keys(self) -> set[str]:
        """Return the keys of all cells that have a record, without reading one."""
        return {name.partition("-")[0] for name in self.names()}

    def check(self) -> None:
        """Check every record against the hash in its name, before hours are spent beside a damaged one.

        Raises:
            UserError: a record or its predictions are truncated or were edited by hand; says which file.
        """
        for name in self.names(".json") + self.names(".parquet"):
            self.content(name)

    def write(self, outcome: Outcome) -> Record:
        """Store an outcome as a record and return it.

        Raises:
            UserError: the folder cannot be written to or the disk is full.
        """
        facts = dict(outcome.facts)
        try:
            if outcome.predictions is not None:
                content = _parquet(outcome.predictions)
                sha = hashlib.sha256(content).hexdigest()
                name = f"{facts['key']}-{sha[:12]}.parquet"
                write_atomically(self.records / name, content)
                facts["predictions"] = {"path": name, "sha256": sha, "n": len(outcome.predictions)}
            record = Record.model_validate(facts)
            text = record.model_dump_json(indent=1)
            name = f"{record.key}-{hashlib.sha256(text.encode()).hexdigest()[:12]}.json"
            write_atomically(self.records / name, text.encode())
        except OSError as error:
            raise unwritable(self.folder, error) from error
        return record

    def load(self) -> list[Record]:
        """Return all records, sorted by file name.

        Raises:
            UserError: a record is truncated, edited by hand, or misses a field; says which file.
        """
        return [self.read(name) for name in self.names()]

    def read(self, name: str) -> Record:
        """Return one record after checking it against the hash in its name.

        Raises:
            UserError: the file is truncated, edited by hand, or misses a field.
        """
        try:
            return Record.model_validate_json(self.content(name))
        except ValidationError as error:
            first = error.errors()[0]
            raise UserError(
                f"record {name!r} lacks or misstates {'.'.join(map(str, first['loc']))!r}: {self._mend}"
            ) from error

    def content(self, name: str) -> bytes:
        """Return the bytes of one file after checking them against the hash in its name.

        Raises:
            UserError: the file is truncated, edited by hand, or cannot be read.
        """
        path, what = self.records / name, "record" if name.endswith(".json") else "the predictions"
        try:
            content = path.read_bytes()
        except OSError as error:
            raise UserError(f"{what} {name!r} cannot be read ({error.strerror}): {self._mend}") from error
        if hashlib.sha256(content).hexdigest()[:12] != path.stem.partition("-")[2]:
            raise UserError(
                f"{what} {name!r} is truncated or was edited (its content does not match its name): {self._mend}"
            )
        return content

    @property
    def _mend(self) -> str:
        return f"move it out of {str(self.records)!r} and run the same command to make it again"

    def predictions(self, record: Record) -> pd.DataFrame:
        """Return a record's predictions and sufficient statistics, one row per test example.

        Raises:
            UserError: the Parquet file is missing or does not match the record's hash.
        """
        import pandas as pd

        assert record.predictions is not None
        path = self.records / record.predictions["path"]
        if not path.is_file() or file_sha256(path) != record.predictions["sha256"]:
            raise UserError(
                f"predictions {path.name!r} are missing or were changed: move the record of the same key out of "
                f"{str(self.records)!r} and run the same command again"
            )
        return pd.read_parquet(path)


def current(records: Iterable[Record]) -> tuple[list[Record], list[Record]]:
    """Choose one record per cell.

    A cell that failed and later succeeded has two; the success counts. Two successes of one cell (two
    machines, say) are a reproducibility check: the first by content is used, the others are returned too.

    Returns:
        The record of each cell, and the further finished records of the same cells.
    """
    chosen: dict[str, Record] = {}
    further: list[Record] = []
    for record in records:
        held = chosen.get(record.key)
        if held is None or (held.status == "failed" and record.status != "failed"):
            chosen[record.key] = record
        elif record.status != "failed":
            further.append(record)
    return list(chosen.values()), further


def _parquet(table: pd.DataFrame) -> bytes:
    buffer = io.BytesIO()
    table.to_parquet(buffer, index=False, compression="zstd")
    return buffer.getvalue()


def as_json(value: Any) -> str:
    """Return a prediction's JSON text as the Parquet file keeps it."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
