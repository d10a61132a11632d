"""The board's first paragraph: what transfer does here, in plain words, and how far that reaches."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from tlbench.boards.text import LEAK
from tlbench.boards.values import Board, Row, Table
from tlbench.verdicts import REPLICATES

_SHOWN = 6
"""Conditions listed by name before the rest is counted."""


def headline(board: Board) -> list[str]:
    """Return the sentences of the first paragraph, most important first."""
    if not board.rows:
        return ["There are no records here yet, so there is nothing to compare."]
    if board.hidden:
        whole = len(board.rows) + board.hidden
        return [f"A view of {len(board.rows)} of {whole} rows: scores, ranks and verdicts are those of the whole "
                "board, whose first paragraph and means over tasks are left out."]
    tables = board.right
    margins = {table.id: table.margin for table in tables}
    sentences = _verdicts([row for table in tables for row in table.rows if row.transfers], margins)
    sentences += _baseline_wins(tables)
    sentences += _without_transfer(tables)
    sentences.append(_noisy(board))
    sentences.append(_unfinished(board.rows))
    sentences.append(_scope(tables))
    return [sentence for sentence in sentences if sentence]


def _verdicts(rows: Sequence[Row], margins: Mapping[str, float]) -> list[str]:
    judged = [row for row in rows if row.best.verdict]
    unjudged = [row for row in rows if row.best.value is not None and not row.best.verdict]
    if not judged and not unjudged:
        return ["No setup with transfer has a result that can be compared with a no-transfer baseline."]
    if not judged:
        return [f"No verdict: {_count(unjudged, 'condition')} and the best baseline without transfer have fewer than "
                f"{REPLICATES} replicates in common, so the differences below are plain values without an interval.",
                _causal(rows)]
    groups = {verdict: [row for row in judged if row.best.verdict == verdict]
              for verdict in ("HELPS", "HARMS", "EQUAL", "UNCLEAR")}
    first = (f"Against the best baseline without transfer, transfer **helps** in {len(groups['HELPS'])} of "
             f"{_count(judged, 'condition')}, **harms** in {len(groups['HARMS'])}, makes **no relevant difference** "
             f"{_within([margins[row.table] for row in groups['EQUAL']])}in {len(groups['EQUAL'])}, and is **unclear** "
             f"in {len(groups['UNCLEAR'])}.")
    sentences = [first]
    for verdict, word in (("HELPS", "It helps"), ("HARMS", "It harms")):
        if groups[verdict]:
            sentences.append(f"{word}: {_listed(groups[verdict], verdict == 'HELPS')}.")
    sentences.append(_causal(rows))
    if unjudged:
        sentences.append(f"{_count(unjudged, 'more condition')} ran with fewer than {REPLICATES} paired replicates and "
                         "got no verdict.")
    return sentences


def _within(margins: Sequence[float]) -> str:
    """Name the margins inside which differences are called irrelevant."""
    if not margins:
        return ""
    least, most = (f"{margin:.3f}" for margin in (min(margins), max(margins)))
    return f"(within ±{least}) " if least == most else f"(within ±{least} to ±{most}, by the size of the test) "


def _causal(rows: Sequence[Row]) -> str:
    found = [row.scratch.verdict for row in rows if row.scratch.verdict]
    if not found:
        return ""
    return (f"Against the same architecture from random weights it helps in {found.count('HELPS')} of "
            f"{_number(len(found), 'condition')} and harms in {found.count('HARMS')}.")


def _listed(rows: Sequence[Row], descending: bool) -> str:
    order = sorted(
        rows, key=lambda r: (-(r.best.value or 0.0) if descending else r.best.value or 0.0, r.table, r.label)
    )
    shown = [f"{row.label} on {row.table} ({row.best.value:+.3f}{_qualified(row)})" for row in order[:_SHOWN]]
    rest = len(order) - len(shown)
    return "; ".join(shown) + (f"; and {rest} more" if rest else "")


def _qualified(row: Row) -> str:
    marks = ((", small", row.best.small), (", unstable", row.best.unstable), (f" {LEAK}", row.outside.leak == "yes"))
    return "".join(mark for mark, holds in marks if holds)


def _baseline_wins(tables: Iterable[Table]) -> list[str]:
    """Say where no setup with transfer is ahead of the baselines, and whether a classical one is in front."""
    sentences = []
    for table in tables:
        rows = [row for row in table.rows if row.transfers and row.best.value is not None]
        base = next((row for row in table.rows if row.best_baseline), None)
        if base is None or not rows:
            continue
        rival = max((row for row in table.rows if not row.transfers and row.n), key=_mean)
        top = max(rows, key=_mean)
        if _mean(rival) > _mean(top):
            how = "wins" if top.best.verdict == "HARMS" else "is ahead"
            sentences.append(f"On {table.id}, {_nature(rival)} {how}: {rival.label} scores "
                             f"{_mean(rival)[0]:.3f}, above every setup with transfer (the nearest, {top.label}: "
                             f"{_mean(top)[0]:.3f}{_verdict(top)}).")
        elif any(row.best.verdict for row in rows) and not any(row.best.verdict == "HELPS" for row in rows):
            sentences.append(f"On {table.id}, no setup with transfer is shown to beat {base.label}, "
                             f"{_nature(base)} (the nearest, {top.label}: {top.best.value:+.3f}{_verdict(top)}).")
    return sentences


def _mean(row: Row) -> tuple[float, str]:
    assert row.score.mean is not None
    return row.score.mean, row.label


def _nature(row: Row) -> str:
    return "a classical baseline without any neural model" if row.classical else "a no-transfer baseline"


def _verdict(row: Row) -> str:
    return f", {row.best.verdict}" if row.best.verdict else ", no verdict"


def _without_transfer(tables: Sequence[Table]) -> list[str]:
    bare = [table for table in tables if not any(row.transfers and row.n for row in table.rows)]
    if not bare:
        return []
    names = ", ".join(table.id for table in bare)
    generation = all(table.kind == "text-generation" for table in bare)
    why = (
        "no pre-trained model for generation took part"
        if generation
        else "no setup with transfer has a score there"
    )
    return [f"On {names}, {why}: these rows are baselines only and say nothing about transfer."]


def _noisy(board: Board) -> str:
    noisy = [table.id for table in board.tables if table.label_noise]
    if not noisy:
        return ""
    if len(noisy) == len(board.tables):
        return "A share of the labels learned from was made wrong on purpose in all tables."
    return f"Not counted here, since a share of their labels was made wrong on purpose: {', '.join(noisy)}."


def _unfinished(rows: Sequence[Row]) -> str:
    parts = []
    for state in ("collapsed", "failed"):
        cells = sum(getattr(row.states, state) for row in rows)
        if cells:
            parts.append(f"{_number(cells, 'cell')} {state}")
    total = sum(row.states.total for row in rows)
    return f"Of {_number(total, 'cell')}, {' and '.join(parts)} (listed below)." if parts else ""


def _scope(tables: Sequence[Table]) -> str:
    """Say how far a conclusion from these tables reaches: tasks, domains, languages, budgets."""
    tasks = {table.name: table for table in tables}
    domains = _domains(tasks.values())
    languages = sorted({language for table in tasks.values() for language in table.task.get("languages", ())})
    budgets = list(dict.fromkeys(str(table.budget) for table in tables))
    shared = _number(domains, "domain") + (" (tasks that share a source count as "
                                           "one)" if domains < len(tasks) else "")
    return (f"How far this reaches: {_number(len(tasks), 'task')} from {shared}, "
            f"{'languages' if len(languages) > 1 else 'language'} {', '.join(languages) or 'not stated'}, "
            f"{'budgets' if len(budgets) > 1 else 'a budget'} of {', '.join(budgets)} labels; nothing is claimed "
            "beyond them.")


def _domains(tables: Iterable[Table]) -> int:
    """Count groups of tasks that are linked by a shared source of text."""
    groups: list[set[str]] = []
    for table in tables:
        sources = set(table.task.get("sources", ())) or {f"task {table.name}"}
        touching = [group for group in groups if group & sources]
        groups = [group for group in groups if not group & sources]
        groups.append(sources.union(*touching))
    return len(groups)


def _count(rows: Sequence[Row], noun: str) -> str:
    return _number(len(rows), noun)


def _number(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
