from __future__ import annotations

import json
import math

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sk

from tlbench.kinds.regression import Regression
from tlbench.task import TextExample

KIND = Regression()
REFERENCE = {
    "pearson": lambda x, y: stats.pearsonr(x, y).statistic,
    "spearman": lambda x, y: stats.spearmanr(x, y).statistic,
    "mse": sk.mean_squared_error,
    "mae": sk.mean_absolute_error,
}


def score(name, given, gold, weights=None):
    metric = KIND.metric(name)
    examples = [TextExample(str(i), "", float(value)) for i, value in enumerate(gold)]
    return metric.score(metric.statistics(examples, list(given), ()), weights)


@pytest.mark.parametrize("name", REFERENCE)
@pytest.mark.parametrize("scale", [1.0, 1e-8, 1e8])
@pytest.mark.parametrize("shift", [0.0, 1e3])
def test_score_equals_scipy_and_sklearn(name, scale, shift):
    draw = np.random.default_rng(0)
    gold = draw.integers(0, 6, 80) * scale + shift * scale
    given = gold + draw.normal(size=80) * scale
    assert score(name, given, gold)[0] == pytest.approx(REFERENCE[name](given, gold), rel=1e-9)


@pytest.mark.parametrize("name", REFERENCE)
def test_weights_score_as_repeated_examples(name):
    draw = np.random.default_rng(1)
    gold, given = draw.integers(0, 4, 30).astype(float), draw.integers(0, 4, 30).astype(float)
    weights = draw.multinomial(30, [1 / 30] * 30, size=5).astype(float)
    expected = [
        REFERENCE[name](np.repeat(given, w.astype(int)), np.repeat(gold, w.astype(int))) for w in weights
    ]
    assert score(name, given, gold, weights) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("name", ["pearson", "spearman"])
@pytest.mark.parametrize("constant", [0.0, 0.1, 1 / 3, 1e9])
def test_correlation_with_a_constant_is_zero(name, constant):
    rising = [0.1 * i for i in range(7)]
    weights = np.array([[7, 0, 0, 0, 0, 0, 0], [1, 1, 1, 1, 1, 1, 1], [0, 0, 0, 0, 0, 0, 0]], dtype=float)
    assert score(name, [constant] * 7, rising)[0] == 0
    assert score(name, rising, [constant] * 7, weights).tolist() == [0, 0, 0]
    assert score(name, rising, rising, weights) == pytest.approx([0, 1, 0])
    assert score(name, [2.0], [3.0])[0] == 0


def test_prediction_that_is_not_finite_counts_as_zero():
    assert score("pearson", [math.nan] * 3, [1, 2, 3])[0] == 0
    assert score("mse", [math.inf, 1.0], [1, 1])[0] == 0.5
    assert np.isfinite(score("mse", [1e300, -1e300], [1, 1])).all()
    assert np.isfinite(score("pearson", [1e300, -1e300, 2], [1, 1, 3])).all()


def test_errors_are_lower_is_better_and_have_a_score_per_example():
    metric = KIND.metric("mse")
    assert [m.higher_is_better for m in KIND.metrics] == [True, True, False, False]
    assert metric.per_example(np.array([[1.0, 3.0], [2.0, 2.0]])).tolist() == [4.0, 0.0]
    assert KIND.metric("").per_example(np.zeros((2, 2))) is None


@pytest.mark.parametrize("name", REFERENCE)
def test_empty_input_is_refused(name):
    with pytest.raises(ValueError, match="no example"):
        score(name, [], [])
    with pytest.raises(ValueError, match="no statistics"):
        KIND.metric(name).score(np.zeros((0, 2)))


@pytest.mark.parametrize(
    ("label", "wrong"),
    [(1.5, None), (2, None), (math.nan, "no finite"), (math.inf, "no finite"), ("1", "str"), (True, "bool")],
)
def test_check_looks_at_the_label(label, wrong):
    found = KIND.check(TextExample("1", "", label))
    assert (found is None) if wrong is None else (wrong in found)


def test_degenerate_means_constant_up_to_rounding():
    noise = np.random.default_rng(0).normal(size=100)
    assert KIND.degenerate(list(0.4 + 1e-8 * noise)) == "one number for 95 or more of 100 predictions"
    assert KIND.degenerate(list(0.4 + 1e-3 * noise)) is None
    assert KIND.degenerate([0.0] * 95 + list(noise[:5])) is not None
    assert KIND.degenerate([0.0] * 94 + list(noise[:6])) is None
    assert KIND.degenerate([math.nan, 1.0, 2.0]) == "no finite number for 1 of 3 predictions"
    assert KIND.degenerate([1.0]) is None


def test_report_and_values_are_json():
    examples = [TextExample(str(i), "", i / 3) for i in range(5)]
    report = KIND.report(examples, [0.1, 0.2, 0.5, 0.9, math.nan], ())
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    assert set(report["scores"]) == set(REFERENCE)
    assert KIND.to_json(math.nan) is None
    assert math.isnan(KIND.from_json(None))
    assert KIND.from_json(KIND.to_json(0.25)) == KIND.gold(TextExample("1", "", 0.25)) == 0.25
