"""Records to rows: the whole board as values, a pure function of the records."""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from statistics import fmean, stdev
from typing import Any

from tlbench.boards.advice import advise
from tlbench.boards.aggregate import aggregates
from tlbench.boards.conditions import Comparable, Condition, comparables
from tlbench.boards.deltas import Comparison, Comparisons, judged
from tlbench.boards.evidence import Reader
from tlbench.boards.facts import Cost, Leak, Outside, Score, States
from tlbench.boards.header import header
from tlbench.boards.parts import Removed
from tlbench.boards.reach import reach, with_saved
from tlbench.boards.standings import standings
from tlbench.boards.values import Board, Contribution, Family, Row, Table
from tlbench.errors import UserError
from tlbench.learned import READ_AGAIN
from tlbench.records import Record, Store
from tlbench.stats import RESAMPLES
from tlbench.verdicts import margin

_FLOOR = ("floor",)


def build(store: Store) -> Board:
    """Compute the board of a results folder.

    Raises:
        UserError: the folder has no records, or a record or its predictions are truncated, edited, or
            contradict each other.
    """
    records = store.load()
    if not records:
        raise UserError(f"results folder {str(store.folder)!r} has no records: run tlbench with this --out "
                        "first")
    reader = Reader(store)
    found = comparables(records)
    uses = Counter(stage["stage"] for record in records for stage in _upstream(record))
    # One BLAS thread: the products are small, and sums then have the same last bits on any number of cores.
    with _one_thread():
        comparisons = [Comparisons(table, reader) for table in found]
        families = judged([comparison for table in comparisons for comparison in table.all])
        tables = tuple(_table(table, made, reader, uses) for table, made in zip(found, comparisons, strict=True))
    sizes = tuple(Family(kind, tier, size) for (kind, tier), size in sorted(families.items()))
    made = Board(header(records, RESAMPLES), with_saved(tables), (), sizes)
    return replace(made, aggregates=aggregates(made.right))


def _one_thread() -> AbstractContextManager[Any]:
    pools = importlib.import_module("threadpoolctl")
    limits: AbstractContextManager[Any] = pools.threadpool_limits(1, "blas")
    return limits


def select(board: Board, tasks: Collection[str] = (), models: Collection[str] = (),
           strategies: Collection[str] = ()) -> Board:
    """Return a view of a board: fewer rows, the same numbers and verdicts.

    Empty selections keep everything. Means over tasks are not those of the whole board any more and are left out.
    """

    def kept(row: Row) -> bool:
        return all(not chosen or name in chosen for chosen, name in
                   ((tasks, row.task), (models, row.model), (strategies, row.strategy)))

    tables = [_with_rows(table, tuple(filter(kept, table.rows))) for table in board.tables]
    view = replace(board, tables=tuple(table for table in tables if table.rows))
    hidden = len(board.rows) - len(view.rows)
    return replace(view, aggregates=(), hidden=hidden) if hidden else board


def _with_rows(table: Table, rows: tuple[Row, ...]) -> Table:
    labels = {row.label for row in rows}
    parts = tuple(one for one in table.contributions if one.row in labels)
    return replace(table, rows=rows, contributions=parts)


def _table(table: Comparable, comparisons: Comparisons, reader: Reader, uses: Mapping[str, int]) -> Table:
    record = table.facts
    first = next(filter(None, map(reader, table.evaluated)), None)
    placed = standings(comparisons)
    rows = _ordered([replace(_row(table, condition, comparisons, uses), standing=placed.get(condition.id))
                     for condition in table.conditions])
    floor = next((row for row, parts in _with_parts(rows, table) if parts == _FLOOR), None)
    e = margin(first.units) if first else 0.0
    return Table(
        id=table.id, name=record.task["name"], budget=table.budget, kind=record.task["kind"],
        metric=record.evaluation.primary if record.evaluation else record.task["metric"],
        comparability=table.comparability, corpus_metric=first is not None and first.per_example is None,
        n_test=len(first.ids) if first else int(record.task.get("test", 0)),
        units=first.units if first and first.groups is not None else None,
        margin=e,
        test_reads=max((r.evaluation.n_test_evals for r in table.evaluated if r.evaluation), default=0),
        same_subsets=_same_subsets(table.evaluated),
        task={**record.task, "train_labels": record.budget.get("train"),
              "validation_labels": record.budget.get("validation"), "protocol": record.protocol.get("id")},
        baseline=next(((row.label, row.score.validation) for row in rows
                       if row.best_baseline and row.score.validation is not None), None),
        rows=tuple(replace(row, below_floor=_below(row, floor)) for row in rows),
        label_noise=table.label_noise, contributions=tuple(map(_contribution, comparisons.parts)),
        advice=advise(rows, e, floor),
    )


def _contribution(found: tuple[Removed, Comparison]) -> Contribution:
    one, comparison = found
    source = one.config.get("source")
    return Contribution(
        one.whole.label, one.whole.model, one.part, source if isinstance(source, str) else None, comparison.delta,
        one.family, one.rest, _predictors(list(one.whole.evaluated.values())),
    )


def _predictors(records: Sequence[Record]) -> dict[str, float]:
    """Return the means of what was known of the source nearest to the target before training on the target."""
    known = [
        {**stages[-1]["predictors"], "labels": float(stages[-1]["labels"])}
        for record in records
        if (stages := [stage for stage in _upstream(record) if stage.get("predictors")])
    ]
    names = [name for name in known[0] if all(name in one for one in known)] if known else []
    return {name: fmean(one[name] for one in known) for name in names}


def _row(table: Comparable, condition: Condition, comparisons: Comparisons, uses: Mapping[str, int]) -> Row:
    facts = condition.facts
    evaluated = list(condition.evaluated.values())
    model = facts.model or {}
    best = comparisons.best[condition.id]
    return Row(
        table=table.id, condition=condition.id, model=condition.model, strategy=condition.strategy,
        task=facts.task["name"], budget=table.budget, n=len(evaluated), score=_score(condition),
        best=best.delta, scratch=comparisons.scratch[condition.id].delta,
        states=_states(condition.records), outside=_outside(condition), cost=_cost(evaluated, uses),
        transfers=condition.transfers, classical=facts.model is None and not condition.transfers,
        tier=condition.tier, params_total=model.get("params_total"),
        params_trainable=model.get("params_trainable"),
        best_baseline=condition.id == comparisons.best_baseline, ranks=comparisons.ranks(condition),
        capped=sum(record.training.get("stop_reason") == "cap" for record in evaluated),
        reach=reach(best.pairs.left, best.pairs.right) if best.pairs else None,
        shared_stage=len(evaluated) > 1 and any(stage["shared"] for record in evaluated for stage in _upstream(record)),
        keys=tuple(record.key for record in condition.records),
        reasons=_reasons(condition.records), note=str(model.get("note") or ""),
        further=tuple(_repeat(record) for record in condition.further),
    )


def _score(condition: Condition) -> Score:
    evaluations = [r.evaluation for r in condition.evaluated.values() if r.evaluation is not None]
    if not evaluations:
        return Score()
    primary = [e.score for e in evaluations]
    shared = [name for name in evaluations[0].metrics if all(name in e.metrics for e in evaluations)]
    others = {name: fmean(e.metrics[name]["value"] for e in evaluations) for name in sorted(shared)}
    return Score(fmean(primary), stdev(primary) if len(primary) > 1 else None, condition.validation, others)


def _states(records: Sequence[Record]) -> States:
    found = [record.status for record in records]
    return States(
        found.count("ok"), found.count("collapsed"), found.count("failed"), found.count("unsupported")
    )


def _reasons(records: Sequence[Record]) -> tuple[str, ...]:
    """Return one line for each state and reason, with the replicates it concerns."""
    grouped: dict[str, list[str]] = {}
    for record in records:
        if record.status != "ok":
            unscored = (
                ", without a score" if record.status == "collapsed" and record.evaluation is None else ""
            )
            line = f"{record.status}{unscored}: {record.reason or 'no reason recorded'}"
            grouped.setdefault(line, []).append(str(record.replicate))
    return tuple(f"{line} (replicate {', '.join(replicates)})" for line, replicates in grouped.items())


def _repeat(record: Record) -> str:
    value = record.evaluation.score if record.evaluation else None
    shown = record.status if value is None else f"{value:.4f}"
    return (
        f"replicate {record.replicate}: {shown} on {record.environment.get('hardware', 'unknown hardware')}"
    )


def _outside(condition: Condition) -> Outside:
    facts = condition.facts
    strategy = str(facts.strategy.get("external_data", "none"))
    model = facts.model or {}
    learned = tuple((str(stage["task"]), int(stage["labels"])) for stage in _upstream(facts) if stage["labels"])
    if model.get("init") != "pretrained" and facts.contamination.get("declared", "no") == "no":
        return Outside(strategy, unlabeled=condition.unlabeled, learned=learned)
    sources = tuple(sorted(model.get("training_sources") or ()))
    shared = set(sources) & set(facts.task.get("sources", ())) | set(facts.contamination.get("sources", ()))
    declared = facts.contamination.get("declared", "unknown")
    leak: Leak = "yes" if shared or declared == "yes" else "no" if declared == "no" else "unknown"
    again = any(str(stage["task"]).endswith(READ_AGAIN) for stage in _upstream(facts))
    return Outside(strategy, True, sources, leak, tuple(sorted(shared)), condition.unlabeled, learned, again)


def _upstream(record: Record) -> Sequence[Mapping[str, Any]]:
    """Return the stages before a cell, as its record tells them."""
    stages: Sequence[Mapping[str, Any]] = record.training.get("upstream", ())
    return stages


def _upstream_mean(records: Sequence[Record], seconds: Callable[[Mapping[str, Any]], float]) -> float | None:
    """Return the mean over records of what their stages cost, by one of the ways to count, or `None` without any."""
    if not any(stage["stage"] for record in records for stage in _upstream(record)):
        return None
    return fmean(sum(seconds(stage) for stage in _upstream(record)) for record in records)


def _cost(records: Sequence[Record], uses: Mapping[str, int]) -> Cost:
    if not records:
        return Cost()
    costs, training = [r.cost for r in records], [r.training for r in records]
    times = [cost.get("seconds", {}) for cost in costs]
    peaks = [int(cost["peak_memory_bytes"]) for cost in costs if cost.get("peak_memory_bytes")]
    return Cost(
        train_seconds=_mean(times, "train"), total_seconds=_mean(times, "total"),
        standalone_seconds=_standalone(records), flops=_mean(costs, "flops"),
        flops_method=_texts(cost.get("flops_method") for cost in costs),
        peak_memory_bytes=max(peaks, default=None),
        memory_method=_texts(cost.get("peak_memory_method") for cost in costs),
        contended=any(cost.get("contended") for cost in costs),
        hardware=tuple(sorted({str(r.environment.get("hardware", "")) for r in records})),
        steps=_mean(training, "steps"), examples_seen=_mean(training, "examples_seen"),
        tokens_seen=_mean(training, "tokens_seen"),
        upstream_seconds=_upstream_mean(records, lambda stage: stage["seconds"]),
        upstream_spent=_upstream_mean(records, lambda stage: stage["spent"]),
        upstream_amortised=_upstream_mean(records, lambda stage: stage["seconds"] / uses[stage["stage"]]),
    )


def _standalone(records: Sequence[Record]) -> float | None:
    """Return the mean time of a cell that makes all stages before it by itself, or `None` if one is not known."""
    totals = [record.cost.get("seconds", {}).get("total") for record in records]
    if None in totals:
        return None
    return fmean(total + sum(stage["seconds"] - stage["spent"] for stage in _upstream(record))
                 for total, record in zip(totals, records, strict=True))


def _mean(facts: Iterable[Mapping[str, Any]], name: str) -> float | None:
    values = [float(fact[name]) for fact in facts if fact.get(name) is not None]
    return fmean(values) if values else None


def _texts(values: Iterable[Any]) -> str:
    return ", ".join(sorted({str(value) for value in values if value}))


def _same_subsets(records: Sequence[Record]) -> bool:
    drawn: dict[int, set[str]] = {}
    for record in records:
        drawn.setdefault(record.replicate, set()).add(record.budget["subset_fingerprint"])
    return all(len(fingerprints) == 1 for fingerprints in drawn.values())


def _with_parts(rows: Sequence[Row], table: Comparable) -> list[tuple[Row, tuple[str, ...]]]:
    parts = {condition.id: condition.parts for condition in table.conditions}
    return [(row, parts[row.condition]) for row in rows if row.n]


def _below(row: Row, floor: Row | None) -> bool:
    if floor is None or floor.score.mean is None or row.score.mean is None:
        return False
    return row.score.mean < floor.score.mean


def _ordered(rows: Sequence[Row]) -> list[Row]:
    """Order by the lower bound of the delta against the best baseline (its own is 0), else by value."""
    bounded = any(row.best.lo is not None for row in rows)
    return sorted(rows, key=_order(bounded))


def _order(bounded: bool) -> Callable[[Row], tuple[int, float, str, str]]:
    def key(row: Row) -> tuple[int, float, str, str]:
        if row.best_baseline:
            return 0, 0.0, row.strategy, row.model
        if row.best.lo is not None:
            return 0, -row.best.lo, row.strategy, row.model
        if row.best.value is not None:
            return int(bounded), -row.best.value, row.strategy, row.model
        return (2 if row.n else 3), -(row.score.mean or 0.0), row.strategy, row.model
    return key
