from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats as scipy_stats

from tlbench.kinds.regression import Pearson
from tlbench.kinds.tagging import EntityF1
from tlbench.kinds.text_metrics import Bleu
from tlbench.stats import (
    Delta,
    corpus_delta,
    corpus_scores,
    inferiority_p,
    paired_delta,
    paired_delta_corpus,
    steadied_p,
)
from tlbench.verdicts import holm


def scores(seed, n=5, m=40):
    draw = np.random.default_rng(seed)
    return draw.random((n, m)), draw.random((n, m))


def test_interval_is_the_two_way_t_of_the_protocol():
    strategy, baseline = scores(0)
    delta = paired_delta(strategy, baseline)
    d = strategy - baseline
    a, b = d.mean(1).var(ddof=1) / 5, d.mean(0).var(ddof=1) / 40
    df = (a + b) ** 2 / (a**2 / 4 + b**2 / 39)
    t = scipy_stats.t(df)
    se = math.sqrt(a + b)
    assert (delta.n, delta.m) == (5, 40)
    assert [delta.value, delta.a, delta.b, delta.se, delta.df] == pytest.approx([d.mean(), a, b, se, df])
    assert [delta.lo, delta.hi] == pytest.approx([d.mean() - t.ppf(0.975) * se, d.mean() + t.ppf(0.975) * se])
    assert [delta.lo90, delta.hi90] == pytest.approx(
        [d.mean() - t.ppf(0.95) * se, d.mean() + t.ppf(0.95) * se]
    )
    assert delta.mde == pytest.approx((t.ppf(0.975) + t.ppf(0.8)) * se)
    assert delta.p == pytest.approx(2 * t.sf(abs(d.mean()) / se))


def test_groups_use_the_variance_of_group_sums():
    strategy, baseline = scores(1)
    groups = [f"g{i % 8}" for i in range(40)]
    d = (strategy - baseline).mean(0)
    sums = [sum(d[i] - d.mean() for i in range(40) if groups[i] == g) for g in dict.fromkeys(groups)]
    delta = paired_delta(strategy, baseline, groups)
    assert delta.m == 8
    assert delta.b == pytest.approx(sum(s * s for s in sums) / 40**2)


def test_examples_without_group_stand_alone():
    strategy, baseline = scores(2)
    assert paired_delta(strategy, baseline, [None] * 40) == paired_delta(strategy, baseline)
    assert paired_delta(strategy, baseline, ["g", "g", *[None] * 38]).m == 39
    alone = paired_delta(strategy, baseline, [str(i) for i in range(40)])
    assert alone.b == pytest.approx(paired_delta(strategy, baseline).b * 39 / 40)


def test_one_replicate_or_one_unit_gives_a_value_only():
    strategy, baseline = scores(3)
    for delta in (
        paired_delta(strategy[:1], baseline[:1]),
        paired_delta(strategy[:, :1], baseline[:, :1]),
        paired_delta(strategy, baseline, ["g"] * 40),
    ):
        assert math.isfinite(delta.value)
        assert {delta.lo, delta.hi, delta.p, delta.se, delta.df, delta.mde} == {None}


def test_differences_that_do_not_vary_give_numbers():
    ones = np.ones((3, 10))
    same = paired_delta(ones, ones)
    assert (same.value, same.lo, same.hi, same.p, same.mde) == (0, 0, 0, 1, 0)
    assert math.isfinite(same.df)
    certain = paired_delta(ones, ones * 0)
    assert (certain.value, certain.lo, certain.hi, certain.p) == (1, 1, 1, 0)
    rounding = paired_delta(ones * 0.3, ones * 0.1)
    assert all(math.isfinite(getattr(rounding, name)) for name in ("lo", "hi", "p", "df", "mde"))
    only_replicates = paired_delta(ones * np.array([[0.1], [0.2], [0.4]]), ones * 0)
    assert only_replicates.df == pytest.approx(2)


@pytest.mark.parametrize(
    ("strategy", "baseline", "message"),
    [
        (np.zeros((3, 5)), np.zeros((3, 4)), "do not pair"),
        (np.zeros((3, 5)), np.zeros((2, 5)), "do not pair"),
        (np.zeros(5), np.zeros(5), "give \\(replicates, examples\\)"),
        (np.zeros((0, 5)), np.zeros((0, 5)), "give \\(replicates, examples\\)"),
        (np.full((3, 5), np.nan), np.zeros((3, 5)), "not a finite number"),
    ],
)
def test_scores_that_do_not_pair_are_refused(strategy, baseline, message):
    with pytest.raises(ValueError, match=message):
        paired_delta(strategy, baseline)


def test_wrong_number_of_groups_is_refused():
    with pytest.raises(ValueError, match="2 groups for 40 examples"):
        paired_delta(*scores(4), ["a", "b"])


def entity_counts(draw, m, recall):
    """Draw tp, fp, fn of one type for m examples with two entities each."""
    tp = draw.binomial(2, recall)
    return np.column_stack([tp, draw.poisson(0.5, m), 2 - tp]).astype(float)


def test_corpus_delta_takes_a_from_replicates_and_b_from_paired_bootstraps():
    draw = np.random.default_rng(5)
    strategy, baseline = ([entity_counts(draw, 60, np.full(60, p)) for _ in range(4)] for p in (0.7, 0.5))
    delta = paired_delta_corpus(EntityF1(), strategy, baseline)
    d = [EntityF1().score(s)[0] - EntityF1().score(b)[0] for s, b in zip(strategy, baseline, strict=True)]
    assert delta.value == pytest.approx(np.mean(d))
    assert delta.a == pytest.approx(np.var(d, ddof=1) / 4)
    drawn = [draw.integers(60, size=60) for _ in range(2000)]
    by_hand = [
        np.mean(
            [
                EntityF1().score(s[i])[0] - EntityF1().score(b[i])[0]
                for s, b in zip(strategy, baseline, strict=True)
            ]
        )
        for i in drawn
    ]
    assert delta.b == pytest.approx(np.var(by_hand, ddof=1), rel=0.15)


def test_corpus_delta_of_a_mean_agrees_with_the_closed_form():
    draw = np.random.default_rng(6)
    counts = [np.column_stack([c, 1 - c, 1 - c]) for c in draw.integers(0, 2, (3, 400)).astype(float)]
    other = [np.column_stack([c, 1 - c, 1 - c]) for c in draw.integers(0, 2, (3, 400)).astype(float)]
    groups = [f"g{i % 100}" for i in range(400)]
    for given in (None, groups):
        by_bootstrap = paired_delta_corpus(EntityF1(), counts, other, given)
        closed = paired_delta([c[:, 0] for c in counts], [c[:, 0] for c in other], given)
        assert by_bootstrap.m == closed.m
        assert by_bootstrap.value == pytest.approx(closed.value)
        assert by_bootstrap.b == pytest.approx(closed.b, rel=0.15)


def test_corpus_delta_of_identical_conditions_is_zero_and_certain():
    draw = np.random.default_rng(7)
    rows = [draw.random((30, 2)) for _ in range(3)]
    delta = paired_delta_corpus(Pearson(), rows, rows)
    assert (delta.value, delta.lo, delta.hi, delta.p, delta.b) == (0, 0, 0, 1, 0)


def test_corpus_delta_is_reproducible_and_follows_the_seed():
    draw = np.random.default_rng(8)
    one, two = ([draw.integers(1, 5, (20, 10)).astype(float) for _ in range(2)] for _ in range(2))
    assert paired_delta_corpus(Bleu(), one, two) == paired_delta_corpus(Bleu(), one, two)
    assert paired_delta_corpus(Bleu(), one, two).b != paired_delta_corpus(Bleu(), one, two, seed=1).b
    assert paired_delta_corpus(Bleu(), one[:1], two[:1]).lo is None


def test_corpus_scores_that_do_not_pair_are_refused():
    rows = [np.ones((20, 2))] * 3
    with pytest.raises(ValueError, match="all must score the same test examples"):
        corpus_scores(Pearson(), [np.ones((20, 2)), np.ones((19, 2))])
    with pytest.raises(ValueError, match="all must score the same"):
        corpus_scores(Pearson(), [])
    full = corpus_scores(Pearson(), rows)
    for other in (
        corpus_scores(Pearson(), rows[:2]),
        corpus_scores(Pearson(), rows, seed=1),
        corpus_scores(Pearson(), rows, ["a", "b"] * 10),
    ):
        with pytest.raises(ValueError, match="do not pair"):
            corpus_delta(full, other)


def correctness(draw, n, m, spread, groups=None):
    """Draw right and wrong answers (n, m) of two conditions whose true delta is 0.

    Each example has its own difficulty, shared within a group in part; each condition reacts to it in its own
    way; each replicate of each condition is better or worse by `spread`.
    """
    difficulty = draw.normal(0.8, 1.0, m)
    conditions = []
    for _ in range(2):
        taste = draw.normal(0, 0.8, m) if groups is None else draw.normal(0, 0.8, groups.max() + 1)[groups]
        level = draw.normal(0, spread, (n, 1))
        conditions.append(
            (draw.random((n, m)) < 1 / (1 + np.exp(-(difficulty + taste + level)))).astype(float)
        )
    return conditions


@pytest.mark.parametrize("n", [3, 5, 10])
@pytest.mark.parametrize(
    ("m", "spread", "grouped"), [(300, 0.2, False), (1000, 0.3, False), (600, 0.15, True)]
)
def test_interval_covers_the_true_delta(n, m, spread, grouped):
    draw = np.random.default_rng(n)
    groups = np.arange(m) // 5 if grouped else None
    names = None if groups is None else [str(g) for g in groups]
    deltas = [paired_delta(*correctness(draw, n, m, spread, groups), names) for _ in range(800)]
    coverage = np.mean([delta.lo <= 0 <= delta.hi for delta in deltas])
    assert 0.90 <= coverage <= 0.98


def test_interval_is_cautious_where_replicates_differ_by_chance_on_examples_only():
    draw = np.random.default_rng(1)  # that noise is in both variances, so it counts twice
    deltas = [paired_delta(*correctness(draw, 5, 500, 0.0)) for _ in range(500)]
    assert np.mean([delta.lo <= 0 <= delta.hi for delta in deltas]) >= 0.95


def test_interval_without_groups_is_too_narrow_for_grouped_examples():
    draw = np.random.default_rng(0)
    groups = np.arange(600) // 20
    runs = [correctness(draw, 10, 600, 0.05, groups) for _ in range(300)]
    names = [str(g) for g in groups]
    ignored = np.mean([delta.lo <= 0 <= delta.hi for delta in (paired_delta(*run) for run in runs)])
    covered = np.mean([delta.lo <= 0 <= delta.hi for delta in (paired_delta(*run, names) for run in runs)])
    assert ignored < 0.85 < 0.90 <= covered <= 0.98


def varied(draw, recall):
    """Move each example's recall by its own noise, and all of them by the replicate's."""
    return np.clip(recall + draw.normal(0, 0.15, len(recall)) + draw.normal(0, 0.01), 0, 1)


def test_corpus_interval_covers_the_true_delta():
    draw = np.random.default_rng(9)
    hits = []
    for _ in range(300):
        recall = 1 / (1 + np.exp(-draw.normal(0.5, 1, 300)))
        one, two = ([entity_counts(draw, 300, varied(draw, recall)) for _ in range(4)] for _ in range(2))
        delta = paired_delta_corpus(EntityF1(), one, two)
        hits.append(delta.lo <= 0 <= delta.hi)
    assert 0.90 <= np.mean(hits) <= 0.99


@pytest.mark.parametrize(("n", "spread", "alike", "unsteadied"), [
    (5, 0.2, 12, 0.0), (3, 0.2, 12, 0.05), (3, 0.4, 12, 0.2), (3, 0.4, 3, 0.2),
])
def test_holm_holds_the_family_wise_error_of_60_null_conditions(n, spread, alike, unsteadied):
    draw = np.random.default_rng(10)
    false_alarm, without_floor, uncorrected = 0, 0, 0
    for _ in range(300):
        deltas = [paired_delta(*correctness(draw, n, 300, spread)) for _ in range(60)]
        tables = [deltas[at : at + alike] for at in range(0, 60, alike)]
        ps = [steadied_p(delta, [one.a for one in table]) for table in tables for delta in table]
        uncorrected += min(delta.p for delta in deltas) < 0.05
        without_floor += min(holm([delta.p for delta in deltas])) < 0.05
        false_alarm += min(holm(ps)) < 0.05
    assert uncorrected / 300 > 0.8
    assert without_floor / 300 >= unsteadied
    assert false_alarm / 300 <= 0.08


def test_steadied_p_is_never_below_what_the_mean_variance_gives():
    delta = paired_delta(*correctness(np.random.default_rng(0), 3, 300, 0.2))
    assert steadied_p(delta, []) == steadied_p(delta, [delta.a]) == steadied_p(delta, [delta.a, 0.0]) == delta.p
    floor = 4 * delta.a
    share = floor / (floor + delta.b)
    df = 1 / (share**2 / (4 * 2 / 2) + (1 - share) ** 2 / 299)
    expected = 2 * scipy_stats.t.sf(abs(delta.value) / (floor + delta.b) ** 0.5, df)
    assert steadied_p(delta, [delta.a, 5 * delta.a, 5 * delta.a, 5 * delta.a]) == pytest.approx(expected)
    assert expected > delta.p
    noisy = Delta(0.05, 3, 300, p=0.04, a=1e-4, b=1e-5)
    assert steadied_p(noisy, [1e-4, 1.01e-4, 1.01e-4, 1.01e-4]) == 0.04  # degrees of freedom are not borrowed
    assert steadied_p(Delta(0.1, 2, 1), [0.1]) is None


def test_inferiority_p_is_the_one_sided_t_against_minus_the_margin():
    delta = paired_delta(*scores(2))
    for margin in (0.01, 0.3):
        expected = scipy_stats.t.sf((delta.value + margin) / delta.se, delta.df)
        assert inferiority_p(delta, margin, []) == pytest.approx(expected)
        agrees = inferiority_p(delta, margin, []) < 0.05
        assert agrees == (delta.lo90 > -margin)
    worse = Delta(-0.2, 3, 300, a=1e-4, b=1e-4)
    assert inferiority_p(worse, 0.05, []) > 0.99
    equal = replace(worse, value=0.0)
    assert inferiority_p(equal, 0.05, [4e-4] * 3) > inferiority_p(equal, 0.05, [])


def test_inferiority_p_without_variance():
    assert inferiority_p(Delta(0.1, 2, 1), 0.05, []) is None
    same = paired_delta(np.full((3, 10), 0.4), np.full((3, 10), 0.42))
    assert (inferiority_p(same, 0.05, []), inferiority_p(same, 0.01, [])) == (0.0, 1.0)


@pytest.mark.parametrize("n", [3, 5])
def test_a_setup_that_is_worse_by_the_margin_is_rarely_called_as_good(n):
    draw = np.random.default_rng(11)
    called = []
    for _ in range(400):
        one, other = correctness(draw, n, 300, 0.2)
        delta = paired_delta(one, other)
        called.append(inferiority_p(replace(delta, value=delta.value - 0.05), 0.05, []) < 0.05)
    assert np.mean(called) <= 0.07
    equal = [paired_delta(*correctness(draw, n, 2000, 0.05)) for _ in range(100)]
    assert np.mean([inferiority_p(delta, 0.05, []) < 0.05 for delta in equal]) >= 0.8
