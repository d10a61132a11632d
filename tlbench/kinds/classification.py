"""Text classification: one class name for a text or a pair of texts."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlbench.kinds import degeneracy
from tlbench.kinds.base import Array, Kind, Metric
from tlbench.kinds.reduction import (
    MeanMetric,
    f1,
    mean_rates,
    one_hot,
    rates,
    ratio,
    require_pairs,
    totals,
)
from tlbench.task import TextExample

UNKNOWN = -1
"""Index of a predicted class that the task does not have: wrong, and no class of its own."""


class Accuracy(MeanMetric):
    """The share of examples whose class is right."""

    name = "accuracy"
    signature = "accuracy|tlbench:1"

    def values(self, examples: Sequence[Any], predictions: Sequence[Any]) -> list[float]:
        """Return 1 for each right class, else 0."""
        return [float(e.label == prediction) for e, prediction in zip(examples, predictions, strict=True)]


class _Macro(Metric):
    """An unweighted mean over the classes that occur in gold or prediction, as scikit-learn averages.

    A resample is scored as if its examples were the whole test: classes that it lost do not count.
    """

    def columns(self, labels: Sequence[str]) -> tuple[str, ...]:
        """Name the statistics: indices into the labels."""
        return ("gold", "predicted")

    def statistics(self, examples: Sequence[Any], predictions: Sequence[Any], labels: Sequence[str]) -> Array:
        """Return gold and predicted class as indices into `labels`, float64 of shape (examples, 2).

        Raises:
            ValueError: no example, unequal lengths, or a gold class that is not among the labels.
        """
        return np.asarray(class_indices(examples, predictions, labels), dtype=np.float64)

    def score(self, statistics: Array, weights: Array | None = None) -> Array:
        """Return the mean over classes, shape (resamples,)."""
        gold, predicted = statistics.astype(np.int64).T
        size = int(statistics.max(initial=0)) + 1
        of_gold = one_hot(gold, size)
        of_predicted = one_hot(predicted, size)
        tp = totals(of_gold * of_predicted, weights)
        in_gold, in_predicted = totals(of_gold, weights), totals(of_predicted, weights)
        present = in_gold + in_predicted > 0
        values = np.where(present, self._each(tp, in_gold, in_predicted), 0.0)
        return ratio(values.sum(axis=1), present.sum(axis=1).astype(np.float64))

    @abstractmethod
    def _each(self, tp: Array, in_gold: Array, in_predicted: Array) -> Array:
        """Return the value of each class, shape (resamples, classes)."""


class MacroF1(_Macro):
    """The mean over classes of F1."""

    name = "macro_f1"
    signature = "macro_f1|classes:gold or predicted|tlbench:1"

    def _each(self, tp: Array, in_gold: Array, in_predicted: Array) -> Array:
        return f1(tp, in_predicted - tp, in_gold - tp)


class MacroPrecision(_Macro):
    """The mean over classes of precision; 0 for a class that is never predicted."""

    name = "macro_precision"
    signature = "macro_precision|classes:gold or predicted|undefined:0|tlbench:1"

    def _each(self, tp: Array, in_gold: Array, in_predicted: Array) -> Array:
        return ratio(tp, in_predicted)


class MacroRecall(_Macro):
    """The mean over classes of recall; 0 for a class that is predicted but never right."""

    name = "macro_recall"
    signature = "macro_recall|classes:gold or predicted|undefined:0|tlbench:1"

    def _each(self, tp: Array, in_gold: Array, in_predicted: Array) -> Array:
        return ratio(tp, in_gold)


def class_indices(
    examples: Sequence[Any], predictions: Sequence[Any], labels: Sequence[str]
) -> NDArray[np.int64]:
    """Return gold and predicted class as indices into `labels`, int64 of shape (examples, 2).

    Raises:
        ValueError: no example, unequal lengths, or a gold class that is not among the labels.
    """
    require_pairs(examples, predictions)
    index = {label: i for i, label in enumerate(labels)}
    unseen = sorted({str(example.label) for example in examples} - set(index))
    if unseen:
        raise ValueError(f"class {unseen[0]!r} of the examples is not among the labels: give all of the test")
    rows = [(index[example.label], index.get(prediction, UNKNOWN))
            for example, prediction in zip(examples, predictions, strict=True)]
    return np.array(rows, dtype=np.int64)


class Classification(Kind):
    """One class name for a text or a pair of texts. Predictions are class names."""

    name = "text-classification"
    example = TextExample
    metrics = (Accuracy(), MacroF1(), MacroPrecision(), MacroRecall())

    def check(self, example: Any) -> str | None:
        """Return what is wrong with an example: texts may be empty, the class name may not."""
        wrong = wrong_text(example)
        if wrong:
            return wrong
        if not isinstance(example.label, str):
            return f"its label is a {type(example.label).__name__}, but a class name is a string"
        return None if example.label.strip() else "its label is empty"

    def text(self, example: Any) -> str:
        """Return the text, and its pair on a second line."""
        return text_of(example)

    def gold(self, example: Any) -> str:
        """Return the class name."""
        return str(example.label)

    def labels(self, train: Sequence[Any]) -> tuple[str, ...]:
        """Return the class names, sorted."""
        return tuple(sorted({example.label for example in train}))

    def degenerate(self, predictions: Sequence[Any]) -> str | None:
        """Return whether nearly all predictions are one class."""
        return degeneracy.constant(predictions, "class")

    def to_json(self, prediction: Any) -> str:
        """Return the class name."""
        return str(prediction)

    def from_json(self, value: Any) -> str:
        """Return the class name."""
        return str(value)

    def report(
        self, examples: Sequence[Any], predictions: Sequence[Any], labels: Sequence[str]
    ) -> Mapping[str, Any]:
        """Return the confusion matrix (rows gold, columns predicted) and precision, recall, F1 and support.

        `outside` counts predictions that are none of the labels. The macro mean is over classes that occur in
        gold or prediction.
        """
        gold, predicted = class_indices(examples, predictions, labels).T
        confusion = (one_hot(gold, len(labels)).T @ one_hot(predicted, len(labels))).astype(np.int64)
        tp, support = np.diag(confusion), np.bincount(gold, minlength=len(labels))
        fp = confusion.sum(axis=0) - tp
        rows = [rates(float(t), float(f), float(s - t)) for t, f, s in zip(tp, fp, support, strict=True)]
        occurs = [row for row, s, f in zip(rows, support, fp, strict=True) if s or f]
        return {
            "labels": list(labels),
            "confusion": confusion.tolist(),
            "outside": int((predicted == UNKNOWN).sum()),
            "per_class": dict(zip(labels, rows, strict=True)),
            "macro": mean_rates(occurs),
            "micro": rates(float(tp.sum()), float(fp.sum()), float((support - tp).sum())),
        }


def wrong_text(example: Any) -> str | None:
    """Return what is wrong with the texts of a `TextExample`, or `None`; they may be empty."""
    if not isinstance(example.text, str):
        return f"its text is a {type(example.text).__name__}, not a string"
    if not isinstance(example.text_pair, str | None):
        return f"its second text is a {type(example.text_pair).__name__}, not a string"
    return None


def text_of(example: Any) -> str:
    """Return the text of a `TextExample`, and its pair on a second line."""
    text = str(example.text)
    return text if example.text_pair is None else f"{text}\n{example.text_pair}"
