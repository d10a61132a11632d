"""What a record's Parquet file says about its score: read once, checked against the record."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tlbench.errors import UserError
from tlbench.kinds import Metric, kind_named
from tlbench.kinds.base import Array
from tlbench.records import Record, Store

_TOLERANCE = 1e-6


@dataclass(frozen=True)
class Evidence:
    """The primary metric of one record, example by example.

    Attributes:
        ids: Example ids, sorted, shape (m,).
        groups: Group of each example (`None`: an example of its own), or `None` if the task names none.
        score: The primary metric on the test split.
        per_example: Scores of shape (m,) whose mean is the score, or `None` for a corpus metric.
        statistics: Sufficient statistics, float64 of shape (m, columns).
        metric: What reduces the statistics.
    """

    ids: NDArray[np.str_]
    groups: tuple[str | None, ...] | None
    score: float
    per_example: Array | None
    statistics: Array
    metric: Metric

    @property
    def units(self) -> int:
        """Return how many groups or, without groups, examples there are."""
        if self.groups is None:
            return len(self.ids)
        return len(set(self.groups) - {None}) + self.groups.count(None)


class Reader:
    """Reads each record's statistics once."""

    def __init__(self, store: Store) -> None:
        """Remember the store."""
        self._store = store
        self._held: dict[Hashable, Evidence | None] = {}

    def __call__(self, record: Record) -> Evidence | None:
        """Return the evidence of an evaluated record.

        `None` if this version of tlbench reduces the metric differently from the version that made the
        record: then the stated score stands, but no difference can be computed.

        Raises:
            UserError: the Parquet file is missing, was changed, or does not give the record's score.
        """
        assert record.predictions is not None
        name = record.predictions["path"]
        if name not in self._held:
            self._held[name] = _evidence(record, self._store.predictions(record))
        return self._held[name]


def _evidence(record: Record, table: pd.DataFrame) -> Evidence | None:
    assert record.evaluation is not None
    name = record.evaluation.primary
    stated = record.evaluation.metrics[name]
    kind = kind_named(record.task["kind"], record.cell["condition"]["task"].get("language", ""))
    metric = {metric.name: metric for metric in kind.metrics}.get(name)
    if metric is None:
        return None
    columns = [f"{name}:{column}" for column in metric.columns(record.task["labels"])]
    if all(column in table for column in ("example_id", "group_id", *columns)):
        evidence = _read(metric, table, columns)
        if abs(evidence.score - stated["value"]) <= _TOLERANCE:
            return evidence
    if metric.signature != stated["signature"]:
        return None
    raise UserError(f"the statistics of record {record.key} do not give the {name} of {stated['value']:.6f} "
                    "that it states: move it out of the folder and run the same command again")


def _read(metric: Metric, table: pd.DataFrame, columns: Sequence[str]) -> Evidence:
    order = np.argsort(table["example_id"].to_numpy(dtype=str), kind="stable")
    statistics = table[list(columns)].to_numpy(dtype=np.float64)[order]
    ids = table["example_id"].to_numpy(dtype=str)[order]
    score = float(metric.score(statistics)[0])
    return Evidence(
        ids, _groups(table["group_id"], order), score, metric.per_example(statistics), statistics, metric
    )


def _groups(column: pd.Series[str], order: NDArray[np.intp]) -> tuple[str | None, ...] | None:
    if column.isna().all():
        return None
    names = column.to_numpy(dtype=object)[order]
    return tuple(name if isinstance(name, str) else None for name in names)
