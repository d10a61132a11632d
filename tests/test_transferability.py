"""Predictors of transfer against slow definitions, and on features that are known to help or not."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from tlbench import transferability
from tlbench.transferability import agreement, h_score, log_me, of_classes, of_numbers, overlap

Floats = NDArray[np.float64]


def slow_log_evidence(features: Floats, y: Floats, alpha: float, beta: float) -> float:
    """Return the log density of y under a zero-mean normal with the model's marginal covariance, per example."""
    covariance = np.eye(len(y)) / beta + features @ features.T / alpha
    _, log_det = np.linalg.slogdet(covariance)
    return float(-0.5 * (y @ np.linalg.solve(covariance, y) + log_det + len(y) * np.log(2 * np.pi)) / len(y))


@pytest.mark.parametrize(("n", "width"), [(40, 6), (12, 30)])
def test_log_me_is_the_largest_marginal_evidence(n: int, width: int) -> None:
    draw = np.random.default_rng(0)
    features = draw.normal(size=(n, width))
    y = features[:, 0] + 0.3 * draw.normal(size=n)
    alphas, betas = np.geomspace(0.01, 100, 60), np.geomspace(0.01, 1e3, 80)
    grid = [slow_log_evidence(features, y, alpha, beta) for alpha in alphas for beta in betas]
    assert log_me(features, y[:, None]) == pytest.approx(max(grid), abs=2e-3)
    assert log_me(features, y[:, None]) >= max(grid) - 1e-9


def test_h_score_in_one_dimension_is_the_share_of_variance_between_classes() -> None:
    draw = np.random.default_rng(1)
    classes = np.repeat([0, 1], 500)
    values = classes + 0.5 * draw.normal(size=1000)
    means = np.array([values[classes == c].mean() for c in classes])
    share = ((means - values.mean()) ** 2).sum() / ((values - values.mean()) ** 2).sum()
    assert h_score(values[:, None], classes) == pytest.approx(share, rel=1e-6)


def test_h_score_shrinks_the_covariance_and_the_spread_between_classes_alike() -> None:
    draw = np.random.default_rng(4)
    classes = np.arange(30) % 3
    features = draw.normal(size=(30, 12)) + np.eye(12)[classes]
    centred = features - features.mean(axis=0)
    sample = centred.T @ centred / 30
    scale = np.trace(sample) / 12
    # Ledoit and Wolf (2004), lemma 3.2 to 3.4: the mean distance of single outer products from their mean.
    spread = np.mean([((np.outer(x, x) - sample) ** 2).sum() for x in centred]) / 30
    alpha = min(1.0, spread / ((sample - scale * np.eye(12)) ** 2).sum())
    assert alpha > 0.2
    means = np.stack([centred[classes == c].mean(axis=0) for c in classes])
    shrunk = (1 - alpha) * sample + alpha * scale * np.eye(12)
    expected = np.trace(np.linalg.solve(shrunk, (1 - alpha) * means.T @ means / 30))
    assert h_score(features, classes) == pytest.approx(float(expected), rel=1e-6)


def test_informative_features_score_above_noise_on_every_predictor() -> None:
    draw = np.random.default_rng(2)
    classes = np.arange(120) % 3
    noise = draw.normal(size=(120, 8))
    told = noise + 3 * np.eye(8)[classes]
    good, bad = of_classes(told, classes), of_classes(noise, classes)
    assert good.keys() == {"logme", "h_score", "knn"}
    assert all(good[name] > bad[name] + 0.1 for name in good)
    assert 0 <= good["h_score"] <= 2
    numbers = draw.normal(size=120)
    told = np.hstack([noise, numbers[:, None] * 3])
    assert all(of_numbers(told, numbers)[name] > of_numbers(noise, numbers)[name] for name in ("logme", "knn"))


def test_knn_counts_the_other_rows_only() -> None:
    angles = np.concatenate([np.linspace(0, 0.2, 6), np.linspace(2, 2.2, 6)])
    features = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    classes = np.repeat([0, 1], 6)
    assert of_classes(features, classes)["knn"] == 1.0
    lone = classes.copy()
    lone[0] = 1  # its own label must not vote for itself
    assert of_classes(features, lone)["knn"] == pytest.approx(11 / 12)


def test_nothing_is_said_of_one_class_or_a_handful_of_rows() -> None:
    assert of_classes(np.eye(8), np.zeros(8, dtype=np.int64)) == {}
    assert of_classes(np.eye(4), np.arange(4)) == {}
    assert of_numbers(np.eye(8), np.ones(8)) == {}


def test_overlap_counts_words_that_the_source_knows() -> None:
    assert overlap(["The cat, sat"], ["the CAT ran", "a cat"]) == pytest.approx(3 / 5)
    assert overlap(["x"], []) == 0.0


def test_agreement_needs_three_sources_and_a_difference() -> None:
    gains = {"a": 0.1, "b": 0.2, "c": 0.3}
    assert agreement({"a": 1.0, "b": 2.0, "c": 3.0}, gains) == pytest.approx(1.0)
    assert agreement({"a": 3.0, "b": 2.0, "c": 1.0, "d": 0.0}, gains) == pytest.approx(-1.0)
    assert agreement({"a": 1.0, "b": 2.0}, gains) is None
    assert agreement({"a": 1.0, "b": 1.0, "c": 1.0}, gains) is None


def test_every_predictor_has_a_name_for_the_table() -> None:
    draw = np.random.default_rng(3)
    made = of_classes(draw.normal(size=(20, 3)), np.arange(20) % 2)
    assert made.keys() | {"overlap", "labels"} == transferability.NAMES.keys()
