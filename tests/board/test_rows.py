"""Records to rows: effects found, what is not comparable refused, every state counted."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tlbench.boards import as_json, build, render, select
from tlbench.boards.values import Board, Row
from tlbench.errors import UserError
from tlbench.records import Store
from tlbench.stats import paired_delta

Write = Callable[..., Store]


def row(board: Board, strategy: str, task: str = "topic", model: str | None = None) -> Row:
    found = [r for r in board.rows if (r.strategy, r.task) == (strategy, task) and model in (None, r.model)]
    assert len(found) == 1, [r.label for r in board.rows]
    return found[0]


def test_build_finds_a_known_gain_a_known_loss_and_a_null(board: Board) -> None:
    gain, null = row(board, "finetune", model="mini"), row(board, "feature-extraction")
    loss = row(board, "lora(rank=8)")
    assert gain.best.verdict == "HELPS"
    assert gain.best.baseline == "linear"
    assert null.best.verdict in ("EQUAL", "UNCLEAR")
    assert loss.best.verdict == "HARMS"
    assert gain.best.lo is not None
    assert gain.best.hi is not None
    assert gain.best.lo < 0.8 - 0.62 + 0.05 < gain.best.hi + 0.1
    assert gain.best.improve == 1.0
    assert gain.scratch.verdict == "HELPS"
    assert gain.scratch.capped == 3


def test_build_scores_corpus_metrics_by_bootstrap(board: Board) -> None:
    names = next(table for table in board.tables if table.name == "names")
    assert names.corpus_metric
    assert row(board, "finetune", "closeness").best.verdict == "HELPS"
    assert row(board, "finetune", "names").best.verdict == "HARMS"
    assert row(board, "finetune", "names").scratch.verdict == "HELPS"


def test_best_baseline_is_chosen_on_validation_never_on_test(toy: SimpleNamespace, write: Write) -> None:
    lucky = toy.replicates(3, "linear", 0.75, validation=0.5)
    chosen = toy.replicates(3, "scratch", 0.6, validation=0.6)
    board = build(write(lucky, chosen, toy.replicates(3, "finetune", 0.8)))
    assert row(board, "finetune").best.baseline == "scratch (mini)"
    assert row(board, "scratch").best_baseline
    assert row(board, "scratch").best.value is None
    assert row(board, "linear").best.value is not None
    assert "linear scores" not in render(board)


def test_best_baseline_used_no_more_unlabeled_text(toy: SimpleNamespace, write: Write) -> None:
    hungry = toy.replicates(3, "scratch(cap=9)", 0.7, unlabeled=5000)
    board = build(write(toy.replicates(3, "linear", 0.6), hungry, toy.replicates(3, "finetune", 0.8)))
    assert row(board, "finetune").best.baseline == "linear"
    assert "used more unlabeled target text" in str(row(board, "finetune").best.reason)


def test_neural_rows_pair_only_within_one_numerics_class(toy: SimpleNamespace, write: Write) -> None:
    store = write(toy.replicates(3, "scratch", 0.7, numerics="gpu-bf16"), toy.replicates(3, "linear", 0.6),
                  toy.replicates(3, "finetune", 0.8))
    found = row(build(store), "finetune")
    assert found.scratch.value is None
    assert "numerics differ" in str(found.scratch.reason)
    assert found.best.baseline == "linear"  # learners without a neural part pair with every class
    assert "not against the best baseline" in str(found.best.reason)
    assert "not against the best baseline" in render(build(store))


def test_rows_trained_on_other_examples_do_not_pair(toy: SimpleNamespace, write: Write) -> None:
    board = build(write(toy.replicates(3, "linear", 0.6, subset="other"), toy.replicates(3, "finetune", 0.8)))
    found = row(board, "finetune")
    assert found.best.value is None
    assert "trained on different examples" in str(found.best.reason)
    assert not board.tables[0].same_subsets
    assert "**except in topic@300**" in render(board)


def test_rows_tested_on_other_examples_do_not_pair(toy: SimpleNamespace, write: Write) -> None:
    found = row(
        build(write(toy.replicates(3, "linear", 0.6, ids="u"), toy.replicates(3, "finetune", 0.8))),
        "finetune",
    )
    assert found.best.value is None
    assert "test examples differ" in str(found.best.reason)


def test_comparability_keys_never_share_a_table(toy: SimpleNamespace, write: Write) -> None:
    old = [*toy.replicates(3, "linear", 0.6), *toy.replicates(3, "finetune", 0.8)]
    new = [*toy.replicates(3, "linear", 0.7, data="v2"), *toy.replicates(3, "lora", 0.8, data="v2")]
    board = build(write(old, new))
    assert sorted(table.id for table in board.tables) == ["topic@300 (A)", "topic@300 (B)"]
    for table in board.tables:
        assert {r.strategy for r in table.rows} in ({"linear", "finetune"}, {"linear", "lora"})
        assert table.baseline is not None


def test_states_are_counted_and_collapsed_stays_in_the_mean(board: Board) -> None:
    collapsed, failed = row(board, "lora", model="leaky"), row(board, "finetune", model="leaky")
    unsupported = row(board, "prompt")
    assert (collapsed.n, collapsed.states.ok, collapsed.states.collapsed) == (3, 2, 1)
    assert collapsed.score.mean is not None
    assert collapsed.score.mean < 0.7
    assert collapsed.best.unstable
    assert (failed.n, failed.states.failed) == (2, 1)
    assert failed.best.value is not None
    assert failed.best.verdict is None
    assert (unsupported.n, unsupported.states.unsupported, unsupported.score.mean) == (0, 3, None)
    text = render(board)
    for reason in ("OutOfMemoryError", "one class for 480 of 500", "prompt needs a decoder"):
        assert reason in text


def test_a_failed_cell_that_later_succeeded_counts_once(toy: SimpleNamespace, write: Write) -> None:
    store = write(toy.replicates(3, "linear", 0.6), toy.replicates(3, "finetune", 0.8),
                  toy.Made("finetune", 0, status="failed", reason="killed"))
    board = build(store)
    assert row(board, "finetune").states.failed == 0
    assert row(board, "finetune").n == 3
    assert board.header.retried == 1


def test_a_repeated_cell_is_shown_and_not_averaged(toy: SimpleNamespace, write: Write) -> None:
    given = [*toy.replicates(3, "linear", 0.6), *toy.replicates(3, "finetune", 0.8)]
    alone = build(write(given))
    again = build(write(given, toy.Made("finetune", 1, 0.8, hardware="other-cpu", numerics="other")))
    assert row(again, "finetune").score == row(alone, "finetune").score
    assert row(again, "finetune").best.value == row(alone, "finetune").best.value
    assert "other-cpu" in row(again, "finetune").further[0]


@pytest.mark.parametrize("count", [1, 2])
def test_below_three_replicates_there_is_a_value_and_no_verdict(
    toy: SimpleNamespace, write: Write, count: int
) -> None:
    board = build(write(toy.replicates(count, "linear", 0.6), toy.replicates(count, "finetune", 0.9)))
    found = row(board, "finetune")
    assert found.best.value is not None
    assert (found.best.lo, found.best.p, found.best.verdict, found.ranks) == (None, None, None, None)
    assert "No verdict" in render(board)
    assert board.families == ()


def test_groups_widen_the_interval(toy: SimpleNamespace, write: Write) -> None:
    board = build(
        write(
            toy.replicates(3, "linear", 0.6, grouped=True), toy.replicates(3, "finetune", 0.8, grouped=True)
        )
    )
    assert board.tables[0].units == 125
    assert board.tables[0].margin == pytest.approx(1 / 125**0.5)


def test_families_span_the_file_and_views_change_no_verdict(board: Board) -> None:
    view = select(board, tasks=("topic",), strategies=("finetune", "lora(rank=8)"))
    assert {r.strategy for r in view.rows} == {"finetune", "lora(rank=8)"}
    for found in view.rows:
        assert found == row(board, found.strategy, model=found.model)
    assert "against **linear**" in render(view)
    sizes = {family.kind: family.size for family in board.families}
    assert sizes["best"] == sum(r.best.p is not None for r in board.rows)


def test_ranks_are_shared_by_rows_that_cannot_be_told_apart(board: Board) -> None:
    assert row(board, "finetune", model="mini").ranks == (1, 2)  # a row that collapsed once lies anywhere
    assert row(board, "linear").ranks == row(board, "feature-extraction").ranks == (2, 4)
    assert row(board, "floor").ranks == (6, 7)


def test_a_weaker_baseline_does_not_stand_in_for_one_with_too_few_replicates(
    toy: SimpleNamespace, write: Write
) -> None:
    board = build(write(toy.replicates(2, "linear", 0.7), toy.replicates(3, "floor", 0.5),
                        toy.replicates(3, "finetune", 0.9), toy.replicates(3, "scratch", 0.4)))
    assert (row(board, "finetune").best.baseline, row(board, "finetune").best.verdict) == ("linear", None)
    assert "fewer than 3 replicates in common" in render(board)
    assert "from random weights it helps in 1 of 1" in render(board)


def test_a_variance_that_is_small_by_luck_is_not_believed(toy: SimpleNamespace, write: Write) -> None:
    base = toy.replicates(3, "linear", 0.6)
    lucky = [toy.Made("finetune", replicate, 0.66) for replicate in range(3)]  # steady by chance
    wild = [toy.Made(f"lora(rank={rank})", replicate, 0.66 + step) for rank in (1, 2, 3, 4)
            for replicate, step in enumerate((-0.12, 0.0, 0.12))]
    alone, beside = build(write(base, lucky)), build(write(base, lucky, wild))
    assert row(alone, "finetune").best.p == row(beside, "finetune").best.p
    assert row(alone, "finetune").best.p_adjusted == row(alone, "finetune").best.p
    assert row(beside, "finetune").best.lo == row(alone, "finetune").best.lo
    steadied = row(beside, "finetune").best.p_adjusted
    assert steadied is not None
    assert steadied > 10 * 5 * (row(beside, "finetune").best.p or 0)
    broken = [replace(one, status="collapsed", reason="one class") for one in wild]
    assert row(build(write(base, lucky, broken)), "finetune").best.p_adjusted == pytest.approx(
        5 * (row(alone, "finetune").best.p or 0))


def test_below_floor_is_flagged(toy: SimpleNamespace, write: Write) -> None:
    board = build(write(toy.replicates(3, "floor", 0.5), toy.replicates(3, "finetune", 0.3)))
    assert row(board, "finetune").below_floor
    assert "**below floor**" in render(board)


def test_leaks_are_flagged_for_pretrained_weights_only(toy: SimpleNamespace, write: Write) -> None:
    board = build(
        write(
            toy.replicates(3, "scratch", 0.5, model="leaky"),
            toy.replicates(3, "lora", 0.6, model="leaky"),
            toy.replicates(3, "finetune", 0.6, model="other"),
        )
    )
    assert row(board, "scratch").outside.leak == "no"
    assert row(board, "lora").outside.leak == "yes"
    assert row(board, "finetune").outside.leak == "unknown"


def test_text_that_the_model_has_read_before_is_marked(toy: SimpleNamespace, write: Write) -> None:
    def stage(task: str) -> dict[str, Any]:
        return {"training": {"optimizer": "adamw", "steps": 200, "stop_reason": "steps", "curve": [], "upstream": [
            {"task": task, "labels": 0, "stage": "abc", "shared": True, "seconds": 9.0, "spent": 9.0}]}}

    board = build(write(
        toy.replicates(3, "tapt", 0.6, unlabeled=50, extra=stage("the task's text, read again")),
        toy.replicates(3, "dapt", 0.6, unlabeled=50, extra=stage("the embedded corpora")),
    ))
    assert row(board, "tapt").outside.again
    assert not row(board, "dapt").outside.again
    assert render(board).count("50 unlabeled target texts, which the model had read before") == 1


def test_equal_records_give_equal_bytes_in_any_file_order(grid: Store, tmp_path: Path,
                                                          monkeypatch: pytest.MonkeyPatch) -> None:
    first = render(build(grid)), as_json(build(grid))
    shutil.copytree(grid.records, tmp_path / "records")
    shuffled = Store(tmp_path)
    names = shuffled.names()
    random.Random(3).shuffle(names)
    monkeypatch.setattr(shuffled, "names", lambda: names)
    assert (render(build(shuffled)), as_json(build(shuffled))) == first


def test_a_fresh_process_with_other_hash_seeds_gives_equal_bytes(grid: Store) -> None:
    code = ("import sys; from pathlib import Path; from tlbench.boards import build, render; "
            "from tlbench.records import Store; "
            "sys.stdout.buffer.write(render(build(Store(Path(sys.argv[1])))).encode()); assert 'torch' not "
            "in sys.modules")
    made = [subprocess.run([sys.executable, "-c", code, str(grid.folder)], check=True, capture_output=True,
                           env={**os.environ, "PYTHONHASHSEED": seed}).stdout for seed in ("1", "2")]
    assert made[0] == made[1] == render(build(grid)).encode()


def test_an_empty_folder_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no records"):
        build(Store(tmp_path))


def test_a_hand_edited_record_is_refused_by_name(toy: SimpleNamespace, write: Write) -> None:
    store = write(toy.replicates(1, "linear", 0.6))
    path = store.records / store.names()[0]
    path.write_text(path.read_text().replace('"linear"', '"finetune"', 1))
    with pytest.raises(UserError, match=rf"{path.name}.*edited"):
        build(store)


def test_a_score_that_its_statistics_do_not_give_is_refused(toy: SimpleNamespace, write: Write) -> None:
    store = write(toy.replicates(2, "linear", 0.6))
    made = toy.outcome(toy.Made("finetune", 0, 0.5))
    facts: dict[str, Any] = {**made.facts}
    facts["evaluation"]["metrics"]["accuracy"]["value"] = 0.99
    store.write(type(made)(facts, made.predictions))
    with pytest.raises(UserError, match=r"do not give the accuracy of 0\.990000"):
        build(store)


def test_a_metric_of_another_version_keeps_its_score_and_gets_no_delta(
    toy: SimpleNamespace, write: Write
) -> None:
    store = write(toy.replicates(3, "linear", 0.6))
    for made in map(toy.outcome, toy.replicates(3, "finetune", 0.8)):
        made.facts["evaluation"]["metrics"]["accuracy"] |= {"value": 0.99, "signature": "accuracy|tlbench:7"}
        store.write(made)
    found = row(build(store), "finetune")
    assert found.score.mean == pytest.approx(0.99)
    assert "another version" in str(found.best.reason)


def test_changed_predictions_are_refused(toy: SimpleNamespace, write: Write) -> None:
    store = write(toy.replicates(1, "linear", 0.6))
    next(store.records.glob("*.parquet")).write_bytes(b"")
    with pytest.raises(UserError, match="missing or were changed"):
        build(store)


def test_deltas_are_those_of_the_statistics_module(toy: SimpleNamespace, write: Write) -> None:
    store = write(toy.replicates(3, "linear", 0.6), toy.replicates(3, "finetune", 0.7))
    scores: dict[str, list[Any]] = {"linear": [], "finetune": []}
    for record in sorted(store.load(), key=lambda r: r.replicate):
        scores[record.strategy["name"]].append(store.predictions(record)["accuracy:accuracy"])
    expected, found = paired_delta(scores["finetune"], scores["linear"]), row(build(store), "finetune").best
    assert (found.value, found.lo, found.hi, found.p) == (
        expected.value,
        expected.lo,
        expected.hi,
        expected.p,
    )
    assert found.p_adjusted == found.p  # a family of one


def test_conditions_of_one_name_are_kept_apart(toy: SimpleNamespace, write: Write) -> None:
    board = build(write(toy.replicates(3, "finetune", 0.7), toy.replicates(3, "finetune", 0.7, unlabeled=9)))
    assert len({r.label for r in board.rows}) == 2
    assert all(r.strategy.startswith("finetune #") for r in board.rows)


def test_means_over_tables_say_which_and_stand_beside_a_setups_own(toy: SimpleNamespace, write: Write) -> None:
    names: dict[str, Any] = {"task": "names", "kind": "token-classification"}
    board = build(write(
        toy.replicates(3, "linear", 0.6), toy.replicates(3, "finetune", 0.8), toy.replicates(3, "lora", 0.7),
        toy.replicates(3, "linear", 0.9, **names), toy.replicates(3, "finetune", 0.6, **names),
        toy.replicates(3, "scratch", 0.5),
    ))
    found = {each.strategy: each for each in board.aggregates}
    (scope,) = {each.scope for each in board.aggregates}
    assert scope == "1 of 2 tables that all setups share: topic@300"
    gain, loss = (row(board, "finetune", task=task).best.value or 0.0 for task in ("topic", "names"))
    assert gain > 0 > loss
    assert (found["finetune"].delta_best, found["finetune"].delta_own) == (gain, pytest.approx((gain + loss) / 2))
    assert found["lora"].delta_own == found["lora"].delta_best
    assert "Δ best, own tables" in render(board)
    alone = build(write(toy.replicates(3, "linear", 0.6), toy.replicates(3, "finetune", 0.8),
                        toy.replicates(3, "scratch", 0.5), toy.replicates(3, "linear", 0.9, **names),
                        toy.replicates(3, "finetune", 0.6, **names)))
    assert {each.scope for each in alone.aggregates} == {"all tables"}
    assert "own tables |" not in render(alone)
    assert " (1/2) |" in render(alone)
