"""Cheap predictors of transfer: what frozen features, or words in common, say before anything is fine-tuned.

A source task is worth trying if its features already tell the target's labels apart. The board sets these numbers
beside the gains that were then measured, and says how well their ranks agree.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
NEIGHBOURS = 5
NAMES = {
    "logme": "LogME",
    "h_score": "H-score",
    "knn": f"{NEIGHBOURS}-NN probe",
    "overlap": "word overlap",
    "labels": "source labels",
}
"""Predictors by their names in records, with their names in tables."""


def of_classes(features: Floats, classes: NDArray[np.int64]) -> dict[str, float]:
    """Return the predictors for classes.

    Args:
        features: One row per example, (n, width).
        classes: Class of each row, (n,).
    """
    found = sorted(set(classes.tolist()))
    if len(found) < 2 or len(classes) <= NEIGHBOURS:
        return {}
    one_hot = (classes[:, None] == np.asarray(found)[None, :]).astype(np.float64)
    votes = _neighbours(features) @ one_hot
    guess = np.asarray(found)[votes.argmax(axis=1)]
    return {
        "logme": log_me(features, one_hot),
        "h_score": h_score(features, classes),
        "knn": float((guess == classes).mean()),
    }


def of_numbers(features: Floats, numbers: Floats) -> dict[str, float]:
    """Return the predictors for numbers, (n,): LogME, and Pearson's r of the mean of the nearest neighbours."""
    if len(numbers) <= NEIGHBOURS or np.ptp(numbers) == 0:
        return {}
    near = _neighbours(features) @ numbers / NEIGHBOURS
    r = float(np.corrcoef(near, numbers)[0, 1]) if np.ptp(near) else 0.0
    return {"logme": log_me(features, numbers[:, None]), "knn": r}


def log_me(features: Floats, targets: Floats) -> float:
    """Return the log marginal evidence per example of a Bayesian linear model (You et al. 2021, arXiv:2102.11005).

    Args:
        features: (n, width).
        targets: (n, k); the evidence is the mean over the columns.

    Returns:
        Nats; higher is better.
    """
    left, singular, _ = np.linalg.svd(features, full_matrices=False)
    kept = singular > singular.max(initial=0.0) * 1e-10
    return float(np.mean([_evidence(left[:, kept], singular[kept] ** 2, features.shape[1], y) for y in targets.T]))


def _evidence(left: Floats, squares: Floats, width: int, y: Floats) -> float:
    """Return the evidence at its maximum over the two precisions, found by MacKay's fixed point."""
    n = len(y)
    inside = (left.T @ y) ** 2
    outside = max(float(y @ y - inside.sum()), 0.0)
    alpha = beta = 1.0
    for _ in range(100):
        scaled = alpha + beta * squares
        gamma = float((beta * squares / scaled).sum())
        weights = float((beta**2 * squares * inside / scaled**2).sum())
        rest = float((inside * (alpha / scaled) ** 2).sum()) + outside
        before = alpha, beta
        alpha, beta = gamma / max(weights, 1e-12), max(n - gamma, 1e-12) / max(rest, 1e-12)
        if max(abs(math.log(alpha / before[0])), abs(math.log(beta / before[1]))) < 1e-6:
            break
    return _log_evidence(squares, inside, outside, width, n, alpha, beta) / n


def _log_evidence(
    squares: Floats, inside: Floats, outside: float, width: int, n: int, alpha: float, beta: float
) -> float:
    scaled = alpha + beta * squares
    weights = float((beta**2 * squares * inside / scaled**2).sum())
    rest = float((inside * (alpha / scaled) ** 2).sum()) + outside
    log_det = float(np.log(scaled).sum()) + (width - len(squares)) * math.log(alpha)
    precisions = n * math.log(beta / (2 * math.pi)) + width * math.log(alpha)
    return 0.5 * (precisions - beta * rest - alpha * weights - log_det)


def h_score(features: Floats, classes: NDArray[np.int64]) -> float:
    """Return the H-score with a shrunk covariance (Ibrahim et al. 2022, arXiv:2110.06893; Ledoit and Wolf 2004).

    The trace of the inverse covariance times the covariance of the class means: how much of the features' spread lies
    between classes. From 0 to at most classes - 1; higher is better.
    """
    from sklearn.covariance import LedoitWolf

    centred = features - features.mean(axis=0)
    fitted = LedoitWolf(assume_centered=True).fit(centred)
    kinds, sizes = np.unique(classes, return_counts=True)
    means = np.stack([centred[classes == kind].mean(axis=0) for kind in kinds])
    between = (1 - fitted.shrinkage_) * ((means.T * sizes) @ means) / len(classes)
    return float(np.trace(np.linalg.pinv(fitted.covariance_, hermitian=True) @ between))


def _neighbours(features: Floats) -> Floats:
    """Return, for each row, a 1 for each of its nearest other rows by cosine: (n, n)."""
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    unit = features / np.maximum(lengths, 1e-12)
    likeness = unit @ unit.T
    np.fill_diagonal(likeness, -np.inf)
    nearest = np.argsort(-likeness, axis=1, kind="stable")[:, :NEIGHBOURS]
    marks: Floats = np.zeros_like(likeness)
    np.put_along_axis(marks, nearest, 1.0, axis=1)
    return marks


def overlap(source: Iterable[str], target: Iterable[str]) -> float:
    """Return the share of the target's words, repeats counted, that occur in the source's texts; 0 without any."""
    known = {word for text in source for word in _words(text)}
    counts = Counter(word for text in target for word in _words(text))
    return sum(count for word, count in counts.items() if word in known) / max(1, counts.total())


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def agreement(predicted: Mapping[str, float], gained: Mapping[str, float]) -> float | None:
    """Return Kendall's tau-b between a predictor and the gains over the sources that have both; `None` below three."""
    from scipy.stats import kendalltau

    shared = sorted(set(predicted) & set(gained))
    if len(shared) < 3:
        return None
    tau = float(kendalltau([predicted[name] for name in shared], [gained[name] for name in shared]).statistic)
    return None if math.isnan(tau) else tau
