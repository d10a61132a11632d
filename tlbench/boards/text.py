"""How numbers and tables look in markdown; the same value always gives the same text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import pandas as pd

from tlbench.boards.facts import Cost, Delta, Outside, Reach, Saved
from tlbench.boards.values import Row

BASELINE, LEAK, CAP = "◆", "⚑", "(cap)"
MARKS = {"HELPS": "▲", "HARMS": "▼", "EQUAL": "=", "UNCLEAR": "?"}
_FEW = 3
"""Training sources that a table cell names; more are counted there and listed with the models."""


def table(rows: Sequence[Mapping[str, str]], right: Sequence[str] = ()) -> str:
    """Return a markdown table.

    Args:
        rows: Cells by column, the same columns in every row.
        right: Columns aligned to the right.
    """
    frame = pd.DataFrame([{name: cell(text) for name, text in row.items()} for row in rows])
    align = ["right" if name in right else "left" for name in frame.columns]
    return str(frame.to_markdown(index=False, disable_numparse=True, colalign=align))


def bullets(lines: Iterable[str]) -> str:
    """Return a markdown list."""
    return "\n".join(f"- {line}" for line in lines)


def cell(text: str) -> str:
    """Return text that is safe inside a table cell."""
    return " ".join(text.split()).replace("|", "\\|")


def code(text: str) -> str:
    """Return text from a record (a reason, a command) as inline code on one line."""
    return f"`{' '.join(text.split()).replace('`', chr(39))}`"


def share(value: float | None, places: int = 3) -> str:
    """Return a score."""
    return "" if value is None else f"{_zero(value, places):.{places}f}"


def measure(value: float | None, places: int = 3) -> str:
    """Return a score, or a measure without an upper bound (an error, a perplexity), which may be large."""
    if value is None or abs(value) < 1e9:
        return "" if value is None else f"{_zero(value, places):,.{places}f}"
    return f"{value:.1e}"


def signed(value: float | None, places: int = 3) -> str:
    """Return a difference with its sign."""
    return "" if value is None else f"{_zero(value, places):+.{places}f}"


def _zero(value: float, places: int) -> float:
    """Round, and print no negative zero."""
    return round(value, places) + 0.0


def score(row: Row) -> str:
    """Return mean, standard deviation over replicates, and how many replicates."""
    if row.score.mean is None:
        return unscored(row)
    spread = "" if row.score.sd is None else f" ± {share(row.score.sd)}"
    collapsed = f", {row.states.collapsed} collapsed" if row.states.collapsed else ""
    return f"{share(row.score.mean)}{spread} ({row.n}{collapsed})"


def unscored(row: Row) -> str:
    """Return the state of a row without a score."""
    for state in ("failed", "collapsed", "unsupported"):
        if getattr(row.states, state):
            return state
    return ""


def interval(delta: Delta, usual: str | None = None) -> str:
    """Return a delta with its 95 % interval, whether it rests on a cap, and its baseline if unusual."""
    if delta.value is None:
        return ""
    text = signed(delta.value)
    if delta.lo is not None and delta.hi is not None:
        text += f" [{signed(delta.lo)}, {signed(delta.hi)}]"
    text += f" {CAP}" if delta.capped else ""
    return text + (f" vs {delta.baseline}" if usual is not None and delta.baseline != usual else "")


def verdict(delta: Delta) -> str:
    """Return a verdict with its qualifications."""
    if delta.verdict is None:
        return "no verdict" if delta.value is not None else ""
    extra = [word for word, holds in (("small", delta.small and delta.verdict in ("HELPS", "HARMS")),
                                      ("unstable", delta.unstable)) if holds]
    if delta.verdict == "UNCLEAR" and delta.mde is not None:
        extra.append(f"mde {share(delta.mde)}")
    return delta.verdict + (f" ({', '.join(extra)})" if extra else "")


def count(value: float | None) -> str:
    """Return a large count with a unit: 22.7M."""
    if value is None:
        return ""
    for size, unit in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g}{unit}" if value < 999.5 * size else f"{value / size:.0f}{unit}"
    return f"{value:.0f}"


def seconds(cost: Cost, value: float | None) -> str:
    """Return a wall time; an upper bound if the machine was contended."""
    if value is None:
        return ""
    text = f"{value:.0f} s" if value >= 100 else f"{value:.1f} s"
    return f"≤ {text}" if cost.contended else text


def upstream(cost: Cost) -> str:
    """Return the wall time of the stages before a cell, alone and shared out among the cells that use them."""
    if cost.upstream_seconds is None or cost.upstream_amortised is None:
        return ""
    return f"{seconds(cost, cost.upstream_seconds)} ({cost.upstream_amortised:.0f} s a cell)"


def saved(found: Saved | None) -> str:
    """Return the labels that the baseline needs: `200 to 300`, or `> 1,000` or `≤ 100` where one end is open."""
    if found is None:
        return ""
    if found.high is None:
        return f"> {found.low:,}"
    return f"≤ {found.high:,}" if found.low is None else f"{found.low:,} to {found.high:,}"


def reach(found: Reach | None) -> str:
    """Return the median step at which training reached the baseline, and in how many replicates it did."""
    if found is None:
        return ""
    return f"{'never' if found.steps is None else count(found.steps)} ({found.reached}/{found.n})"


def memory(cost: Cost) -> str:
    """Return peak memory in MiB."""
    return "" if not cost.peak_memory_bytes else f"{cost.peak_memory_bytes / 2**20:,.0f} MiB"


def params(row: Row) -> str:
    """Return trainable and total parameters."""
    if not row.params_total:
        return "-"
    return f"{count(row.params_trainable)} / {count(row.params_total)}"


def outside(data: Outside) -> str:
    """Return what came in from outside the cell's labels, with the leak flag."""
    parts = []
    if data.strategy != "none":
        learned = ", ".join(f"{labels:,} labels of {task}" for task, labels in data.learned)
        parts.append(f"{data.strategy}: {learned}" if learned else f"{data.strategy} (strategy)")
    if data.pretrained:
        parts.append(f"model: {_sources(data.sources)}")
    if data.unlabeled:
        again = ", which the model had read before" if data.again else ""
        parts.append(f"{data.unlabeled:,} unlabeled target texts{again}")
    if data.leak != "no":
        parts.append(f"{LEAK} {', '.join(data.leaked)}" if data.leak == "yes" else f"{LEAK}? leak unknown")
    return "; ".join(parts) or "none"


def _sources(names: Sequence[str]) -> str:
    if not names:
        return "sources not declared"
    return ", ".join(names) if len(names) <= _FEW else f"{len(names)} declared sources"
