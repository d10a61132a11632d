"""Training and validation loss as text: a table of points and a small chart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tlbench.boards import text

_POINTS = 16
_BARS = "▁▂▃▄▅▆▇█"


def curve(points: Sequence[Mapping[str, Any]], best_step: int | None) -> list[str]:
    """Return markdown blocks for a loss curve: one line of bars per loss, and a table of at most 16 points.

    Args:
        points: `step`, `train_loss` and `validation_loss` (either loss may be missing or `None`).
        best_step: The step whose weights were kept; marked, with the over-fitting gap there.
    """
    if not points:
        return []
    kept = _thinned(points, best_step)
    rows = [{"step": f"{point['step']:,}" + (" (kept)" if point["step"] == best_step else ""),
             "training loss": _loss(point.get("train_loss")),
             "validation loss": _loss(point.get("validation_loss")), "gap": _gap(point)} for point in kept]
    bars = [f"{name:<10} {_bars([point.get(key) for point in kept])}"
            for name, key in (("training", "train_loss"), ("validation", "validation_loss"))
            if any(point.get(key) is not None for point in kept)]
    chart = ["```text\n" + "\n".join(bars) + "\n```"] if bars else []
    return ["### Loss", *chart, text.table(rows, right=("step", "training loss", "validation loss", "gap"))]


def _thinned(points: Sequence[Mapping[str, Any]], best_step: int | None) -> list[Mapping[str, Any]]:
    """Keep first, last, the best step, and evenly spaced points between."""
    if len(points) <= _POINTS:
        return list(points)
    places = {round(i * (len(points) - 1) / (_POINTS - 1)) for i in range(_POINTS)}
    places |= {i for i, point in enumerate(points) if point["step"] == best_step}
    return [points[i] for i in sorted(places)]


def _loss(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _gap(point: Mapping[str, Any]) -> str:
    """Return validation minus training loss: the over-fitting gap."""
    train, validation = point.get("train_loss"), point.get("validation_loss")
    return "" if train is None or validation is None else text.signed(validation - train, 4)


def _bars(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    low, high = min(known), max(known)
    width = (high - low) or 1.0
    return "".join(
        " " if value is None else _BARS[round((value - low) / width * (len(_BARS) - 1))] for value in values
    )
