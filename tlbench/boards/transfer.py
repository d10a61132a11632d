"""Transfer matrices: which source task helps which target, and whether anything cheap could have told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

from tlbench.boards import text
from tlbench.boards.pictures import picture
from tlbench.boards.values import Board, Contribution
from tlbench.transferability import NAMES, agreement


@dataclass(frozen=True)
class Matrix:
    """One way of learning from a source with one model, over sources and targets.

    Attributes:
        family: Label of the strategy without its source, and of what it is composed with.
        model: The model.
        sources: Source tasks, sorted.
        targets: Ids of the target tables, in the board's order.
        entries: Source and target to what the source adds there.
    """

    family: str
    model: str
    sources: tuple[str, ...]
    targets: tuple[str, ...]
    entries: Mapping[tuple[str, str], Contribution]

    def agreements(self) -> dict[str, dict[str, float]]:
        """Return, by predictor and target, Kendall's tau between what it said of the sources and what they gave."""
        found: dict[str, dict[str, float]] = {}
        for target in self.targets:
            here = {s: e for s in self.sources if (e := self.entries.get((s, target))) and e.delta.value is not None}
            gained = {source: entry.delta.value or 0.0 for source, entry in here.items()}
            for name in NAMES:
                told = {s: e.predictors[name] for s, e in here.items() if name in e.predictors}
                tau = agreement(told, gained)
                if tau is not None:
                    found.setdefault(name, {})[target] = tau
        return found


def matrices(board: Board) -> list[Matrix]:
    """Return the matrices with two or more sources for some target."""
    grouped: dict[tuple[str, str], dict[tuple[str, str], Contribution]] = {}
    for table in board.tables:
        for one in table.contributions:
            if one.source not in (None, "auto") and one.delta.value is not None:
                grouped.setdefault((one.title, one.model), {})[str(one.source), table.id] = one
    order = {table.id: place for place, table in enumerate(board.tables)}
    found = []
    for (family, model), entries in sorted(grouped.items()):
        targets = tuple(sorted({target for _, target in entries}, key=lambda target: order[target]))
        if len(entries) > len(targets):
            found.append(Matrix(family, model, tuple(sorted({s for s, _ in entries})), targets, entries))
    return found


def section(board: Board) -> list[str]:
    """Return the board's section on sources, or nothing without a matrix."""
    blocks = []
    for matrix in matrices(board):
        blocks += [
            f"What {matrix.family} ({matrix.model}) adds, by source (rows) and target (columns):",
            text.table([_line(matrix, source) for source in matrix.sources], right=matrix.targets),
            *_agreements(matrix),
            *_predicted(matrix),
        ]
    return ["## Which source helps", *blocks] if blocks else []


def _line(matrix: Matrix, source: str) -> dict[str, str]:
    return {"source": source, **{target: _entry(matrix.entries.get((source, target))) for target in matrix.targets}}


def _entry(one: Contribution | None) -> str:
    if one is None:
        return ""
    return " ".join(filter(None, (text.interval(one.delta), text.MARKS.get(one.delta.verdict or "", ""))))


def _agreements(matrix: Matrix) -> list[str]:
    """Return a table of predictors by target, and what it means."""
    found = matrix.agreements()
    if not found:
        return ["No target has three sources or more here, so nothing is said about predictors."]
    rows = [
        {
            "predictor": NAMES[name],
            **{target: text.signed(taus.get(target), 2) for target in matrix.targets},
            "mean": text.signed(fmean(taus.values()), 2),
        }
        for name, taus in found.items()
    ]
    return [
        "What could have been known before: Kendall's tau between each predictor and the gains, over the sources of a "
        "target (1: the same order, 0: no relation).",
        text.table(rows, right=(*matrix.targets, "mean")),
    ]


def _predicted(matrix: Matrix) -> list[str]:
    """Return, folded away, what each predictor said of each source, and what it then gave; nothing if none spoke."""
    names = [name for name in NAMES if any(name in one.predictors for one in matrix.entries.values())]
    rows = [
        {
            "target": target,
            "source": source,
            "difference": text.signed(one.delta.value),
            **{NAMES[name]: _told(name, one.predictors.get(name)) for name in names},
        }
        for target in matrix.targets
        for source in matrix.sources
        if (one := matrix.entries.get((source, target))) is not None
    ]
    summary = (f"<details><summary>Predictors of {matrix.family} ({matrix.model}) and what was gained (means over "
               "replicates; compare within a target; blank where its kind has none)</summary>")
    right = ("difference", *(NAMES[name] for name in names))
    return [summary, text.table(rows, right=right), "</details>"] if names else []


def _told(name: str, value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if name == "labels" else text.share(value, 4)


def plot(board: Board, folder: Path) -> list[Path]:
    """Write one heat map for each matrix and return the paths.

    Raises:
        UserError: matplotlib is not installed.
    """
    paths = []
    for matrix in matrices(board):
        size = (2.5 + 1.3 * len(matrix.targets), 1.8 + 0.5 * len(matrix.sources))
        name = f"transfer-{matrix.family}-{matrix.model}.png".replace("/", "-")
        paths.append(picture(folder / name, size, partial(_draw, matrix)))
    return paths


def _draw(matrix: Matrix, figure: Any) -> None:
    axes = figure.subplots()
    values: Sequence[Sequence[float]] = [
        [_value(matrix.entries.get((source, target))) for target in matrix.targets] for source in matrix.sources
    ]
    most = max((abs(v) for row in values for v in row if v == v), default=0.0) or 1.0
    image = axes.imshow(values, cmap="RdBu", vmin=-most, vmax=most, aspect="auto")
    for i, source in enumerate(matrix.sources):
        for j, target in enumerate(matrix.targets):
            one = matrix.entries.get((source, target))
            if one is not None:
                mark = text.MARKS.get(one.delta.verdict or "", "")
                dark = abs(values[i][j]) > 0.6 * most
                axes.text(j, i, f"{text.signed(one.delta.value)} {mark}".strip(), ha="center", va="center",
                          color="white" if dark else "black", fontsize="small")
    axes.set_xticks(range(len(matrix.targets)), matrix.targets, rotation=20, ha="right")
    axes.set_yticks(range(len(matrix.sources)), matrix.sources)
    axes.set(title=f"What {matrix.family} ({matrix.model}) adds", xlabel="target", ylabel="source")
    figure.colorbar(image, ax=axes, label="difference")


def _value(one: Contribution | None) -> float:
    return float("nan") if one is None or one.delta.value is None else one.delta.value
