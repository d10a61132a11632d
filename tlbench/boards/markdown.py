"""A board as markdown for GitHub: headline, overview, one table per task, notes, how it was measured."""

from __future__ import annotations

from tlbench.boards import advice, curves, text, transfer
from tlbench.boards.cached import TITLE
from tlbench.boards.headline import headline
from tlbench.boards.measured import measured
from tlbench.boards.notes import row_notes, statistics_notes, table_notes
from tlbench.boards.values import Aggregate, Board, Row, Table
from tlbench.kinds import kind_named


def render(board: Board) -> str:
    """Return the board as markdown, the same bytes for equal records."""
    blocks = [TITLE, " ".join(headline(board))]
    if board.rows:
        blocks += ["## Overview", *_overview(board), *_over_tasks(board)]
        blocks += [*advice.section(board), *curves.section(board), *transfer.section(board)]
        for table in board.tables:
            blocks += _task(table)
        blocks += ["## How to read this", text.bullets(statistics_notes(board))]
        blocks += ["## How it was measured", *measured(board)]
    return "\n\n".join(blocks) + "\n"


def _overview(board: Board) -> list[str]:
    found: dict[tuple[str, str], dict[str, list[str]]] = {}
    for row in sorted(board.rows, key=lambda r: (r.transfers, not r.classical, r.model, r.strategy)):
        cells = found.setdefault((row.strategy.partition(" #")[0], row.model), {})
        cells.setdefault(row.table, []).append(_overview_cell(row))
    names = {table.id: f"{table.id} {table.metric}" for table in board.tables}
    rows = [{"strategy": strategy, "model": model,
             **{name: " / ".join(cells.get(id, [])) for id, name in names.items()}}
            for (strategy, model), cells in found.items()]
    legend = (f"Mean test score ± standard deviation over replicates. {text.BASELINE} the best no-transfer "
              "baseline (chosen on validation); against it: ▲ helps, ▼ harms (or, for a baseline, lies below), = no "
              f"relevant difference, ? unclear, no sign: no verdict. {text.LEAK} the model's declared training data "
              "include a source of the task.")
    return [text.table(rows, right=list(names.values())), legend]


def _overview_cell(row: Row) -> str:
    if row.score.mean is None:
        return text.unscored(row)
    spread = "" if row.score.sd is None else f" ± {text.share(row.score.sd)}"
    marks = [text.BASELINE if row.best_baseline else text.MARKS.get(row.best.verdict or "", ""),
             text.LEAK if row.outside.leak == "yes" else ""]
    return " ".join([text.share(row.score.mean) + spread, *filter(None, marks)])


def _over_tasks(board: Board) -> list[str]:
    if len(board.tables) < 2 or not board.aggregates:
        return []
    blocks = ["## Over tasks"]
    for scope in dict.fromkeys(found.scope for found in board.aggregates):
        found = [each for each in board.aggregates if each.scope == scope]
        differ = any(each.delta_own != each.delta_best for each in found)
        blocks += [f"Over {scope}:", text.table([_aggregate(each, differ) for each in found],
                                                right=("Δ best", "Δ best, own tables", "Δ scratch"))]
    blocks.append("Macro-means of differences, never of raw scores, over the tables in which all setups listed "
                  "together have one (coverage); budgets of one task are averaged first. They have no interval and mix "
                  "metrics: read them with the mean over a setup's own tables (not comparable between setups that have "
                  "others), the harm and the worst difference, which are over these too. A fraction behind Δ scratch "
                  "says in how many of the averaged tables there is one.")
    return blocks


def _aggregate(found: Aggregate, own: bool) -> dict[str, str]:
    partial = f" ({found.with_scratch}/{len(found.tables)})" if 0 < found.with_scratch < len(found.tables) else ""
    worst = "" if found.worst is None else f"{text.signed(found.worst[1])} ({found.worst[0]})"
    return {
        "strategy": found.strategy,
        "model": found.model,
        "Δ best": text.signed(found.delta_best),
        **({"Δ best, own tables": text.signed(found.delta_own)} if own else {}),
        "Δ scratch": text.signed(found.delta_scratch) + partial,
        "harmed": f"{found.harmed}/{found.judged}" if found.judged else "no verdict",
        "worst Δ best": worst,
        "coverage": f"{len(found.tables)}/{found.offered}",
    }


def _task(table: Table) -> list[str]:
    usual = table.baseline[0] if table.baseline else None
    main = text.table([_main(row, usual) for row in table.rows],
                      right=("rank", "score ± SD (n)", "RER", "P(improve)"))
    staged = any(row.cost.upstream_seconds is not None for row in table.rows)
    watched = any(row.reach for row in table.rows)
    details = text.table(
        [_detail(row, staged, watched) for row in table.rows],
        right=("steps", "to baseline", "train", "upstream", "peak memory", "FLOPs"),
    )
    return [f"## {table.id}", _caption(table), main, f"<details><summary>Cost, parameters, outside data, "
            f"states of {table.id}</summary>", details, "</details>", *_others(table), *_parts(table), *_noted(table)]


def _others(table: Table) -> list[str]:
    """Return the means over replicates of the metrics that are not the primary one; ↓: lower is better."""
    kind = kind_named(table.kind)
    known = {metric.name: metric.higher_is_better for metric in (*kind.metrics, *kind.likelihoods)}
    found = {name for row in table.rows for name in row.score.others} - {table.metric}
    ordered = [*filter(found.__contains__, known), *sorted(found - known.keys())]
    names = {name: name if known.get(name, True) else f"{name} ↓" for name in ordered}
    rows = [{"strategy": row.strategy, "model": row.model,
             **{title: text.measure(row.score.others.get(name)) for name, title in names.items()}}
            for row in table.rows]
    more = "; perplexity is per token of each model's own vocabulary" if "perplexity" in names else ""
    summary = f"<details><summary>Other metrics of {table.id} (means over replicates, no verdicts{more})</summary>"
    return [summary, text.table(rows, right=[*names.values()]), "</details>"] if names else []


def _parts(table: Table) -> list[str]:
    """Return what each strategy adds to the rows that have a counterpart without it."""
    rows = [
        {"row": one.row, "part": one.part, "without it": one.delta.baseline or "",
         "Δ part [95 % CI]": text.interval(one.delta), "verdict": text.verdict(one.delta)}
        for one in table.contributions
    ]
    return [f"What each part adds on {table.id}:", text.table(rows, right=("Δ part [95 % CI]",))] if rows else []


def _noted(table: Table) -> list[str]:
    notes = [*table_notes(table), *(note for row in table.rows for note in row_notes(row))]
    return [text.bullets(notes)] if notes else []


def _caption(table: Table) -> str:
    units = f"{table.n_test:,} test examples" + (f" in {table.units:,} groups" if table.units else "")
    form = "corpus metric" if table.corpus_metric else "mean over examples"
    versus = ("No baseline without transfer has a score here, so Δ best is "
              "blank." if table.baseline is None else
              f"Δ best is against **{table.baseline[0]}**, the no-transfer row with the best validation score "
              f"({text.share(table.baseline[1])}), unless a cell names another.")
    train, held = table.task.get("train_labels"), table.task.get("validation_labels")
    labels = f"{train} training and {held} validation labels"
    if table.label_noise:
        labels += f", {text.share(table.label_noise)} of them made wrong on purpose"
    return (f"{table.kind}, version {table.task.get('version')}; {table.metric} ({form}); {labels}; {units}; "
            f"equality margin e = {text.share(table.margin)}. {versus}")


def _main(row: Row, usual: str | None) -> dict[str, str]:
    marks = (text.BASELINE if row.best_baseline else "") + (text.LEAK if row.outside.leak == "yes" else "")
    return {
        "rank": "" if row.ranks is None else "-".join(map(str, dict.fromkeys(row.ranks))),
        "strategy": " ".join(filter(None, (row.strategy, marks))), "model": row.model,
        "score ± SD (n)": text.score(row),
        "Δ best [95 % CI]": "baseline" if row.best_baseline else text.interval(row.best, usual),
        "verdict": text.verdict(row.best),
        "Δ scratch [95 % CI]": text.interval(row.scratch), "verdict ": text.verdict(row.scratch),
        "RER": text.signed(row.best.rer, 2),
        "P(improve)": "" if row.best.improve is None else f"{text.share(row.best.improve, 2)} ({row.best.n})",
    }


def _detail(row: Row, staged: bool, watched: bool) -> dict[str, str]:
    cost, states = row.cost, row.states
    return {
        "strategy": row.strategy,
        "model": row.model,
        "params (trainable / total)": text.params(row),
        "outside data": text.outside(row.outside) if row.n else "",
        "steps": text.count(cost.steps) if cost.steps else "",
        **({"to baseline": text.reach(row.reach)} if watched else {}),
        "train": text.seconds(cost, cost.train_seconds),
        **({"upstream": text.upstream(cost)} if staged else {}),
        "peak memory": text.memory(cost),
        "FLOPs": text.count(cost.flops) if cost.flops else "",
        "ok / collapsed / failed / unsupported": " / ".join(
            str(count) for count in (states.ok, states.collapsed, states.failed, states.unsupported)
        ),
    }
