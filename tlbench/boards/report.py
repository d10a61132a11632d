"""How a cell did class by class: precision, recall, F1, confusion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tlbench.boards import text

_SHOWN = {"labels", "confusion", "outside", "per_class", "per_type", "macro", "micro", "type_confusions",
          "scores"}
"""Entries that have a table of their own, or stand among the metrics already."""


def class_report(report: Mapping[str, Any]) -> list[str]:
    """Return markdown blocks for what a kind's `report` holds: rates by class, confusion, other numbers."""
    blocks = []
    classes = report.get("per_class") or report.get("per_type") or {}
    if classes:
        rates = {**{name: classes[name] for name in sorted(classes)},
                 **{f"**{mean}**": report[mean] for mean in ("macro", "micro") if mean in report}}
        blocks += ["## By class", text.table([_rates(name, row) for name, row in rates.items()],
                                             right=("precision", "recall", "F1", "support"))]
    if "confusion" in report:
        blocks += [
            "## Confusion matrix",
            _confusion(report["labels"], report["confusion"], report.get("outside", 0)),
        ]
    if report.get("type_confusions"):
        rows = [{"gold": r["gold"], "predicted": r["predicted"], "count": str(r["count"])}
                for r in report["type_confusions"]]
        blocks += ["## Types confused, boundaries right", text.table(rows, right=("count",))]
    rest = _flat({name: value for name, value in report.items() if name not in _SHOWN})
    if rest:
        blocks += ["## Details", text.table([{"what": name, "value": value} for name, value in rest.items()],
                                            right=("value",))]
    return blocks


def _rates(name: str, row: Mapping[str, Any]) -> dict[str, str]:
    support = row.get("support")
    return {"class": name, "precision": text.share(row["precision"]), "recall": text.share(row["recall"]),
            "F1": text.share(row["f1"]), "support": "" if support is None else f"{int(support):,}"}


def _confusion(labels: Sequence[str], matrix: Sequence[Sequence[int]], outside: int) -> str:
    """Return the matrix; columns are numbered, since class names are long."""
    rows = [{"gold \\ predicted": f"{i}. {label}", **{str(j): str(n) for j, n in enumerate(row)}}
            for i, (label, row) in enumerate(zip(labels, matrix, strict=True))]
    note = f"\n\n{outside} predictions were none of these classes." if outside else ""
    return text.table(rows, right=[str(j) for j in range(len(labels))]) + note


def _flat(report: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in report.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{prefix}{name} ")
        elif isinstance(value, int | float):
            found[prefix + name] = f"{value:.4g}"
    return found
