"""What a kind is: how any model's predictions meet any task of one form. No torch here: boards use it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from tlbench.strategy import Prediction
from tlbench.task import Example

Array = NDArray[np.float64]


class Metric(ABC):
    """A pure function from predictions to sufficient statistics, plus a reducer.

    Scores lie in 0..1 (correlations in -1..1) and higher is better for every primary metric.

    Attributes:
        name: Name in tables and records.
        signature: Name, version and options of the implementation; part of the comparability key.
        higher_is_better: Direction; error measures are never primary.
    """

    name: ClassVar[str]
    signature: ClassVar[str]
    higher_is_better: ClassVar[bool] = True

    @abstractmethod
    def columns(self, labels: Sequence[str]) -> tuple[str, ...]:
        """Name the statistics, one column each, in order."""

    @abstractmethod
    def statistics(
        self, examples: Sequence[Example], predictions: Sequence[Prediction], labels: Sequence[str]
    ) -> Array:
        """Return the sufficient statistics of each example, float64 of shape (examples, columns)."""

    @abstractmethod
    def score(self, statistics: Array, weights: Array | None = None) -> Array:
        """Reduce statistics (n, columns) to scores.

        Args:
            statistics: What `statistics` returned.
            weights: How often each example counts, shape (resamples, n); `None` counts each once.

        Returns:
            Float64 of shape (resamples,), or (1,) without weights. Never NaN: an undefined score has a
            defined value (`protocol.md`: F1 without gold and prediction 1, correlation with a constant 0).
        """

    def value(self, examples: Sequence[Example], predictions: Sequence[Prediction], labels: Sequence[str]) -> float:
        """Return the score of predictions on at least one example."""
        return float(self.score(self.statistics(examples, predictions, labels))[0])

    def per_example(self, statistics: Array) -> Array | None:
        """Return one score per example, shape (n,), if the metric is their plain mean; else `None`."""
        return None


class Kind(ABC):
    """How any model meets any task of one form.

    Attributes:
        name: For example `text-classification`.
        example: The example class of its tasks.
        metrics: All metrics, the default primary one first.
        likelihoods: Metrics of what models state about the right answers, for tasks that ask for them; never primary.
    """

    name: ClassVar[str]
    example: ClassVar[type]
    metrics: ClassVar[tuple[Metric, ...]]
    likelihoods: ClassVar[tuple[Metric, ...]] = ()

    def metric(self, name: str) -> Metric:
        """Return the metric called `name`, or the default for an empty name."""
        if not name:
            return self.metrics[0]
        return {metric.name: metric for metric in self.metrics}[name]

    def spoken(self, language: str) -> Kind:
        """Return the kind with metrics that split texts of a language (BCP 47) right; itself where all do."""
        return self

    @abstractmethod
    def check(self, example: Example) -> str | None:
        """Return what is wrong with an example, in one sentence without its text, or `None`."""

    @abstractmethod
    def text(self, example: Example) -> str:
        """Return the input text, for duplicates and fingerprints."""

    @abstractmethod
    def gold(self, example: Example) -> Any:
        """Return the right answer as JSON types."""

    def labels(self, train: Sequence[Example]) -> tuple[str, ...]:
        """Return the sorted label space of the training side; empty where the kind has none."""
        return ()

    @abstractmethod
    def degenerate(self, predictions: Sequence[Prediction]) -> str | None:
        """Return how a trained predictor is degenerate (one class, no entity, empty or identical output for
        at least 95 % of the test examples), or `None`."""

    @abstractmethod
    def to_json(self, prediction: Prediction) -> Any:
        """Return a prediction as JSON types, for the record."""

    @abstractmethod
    def from_json(self, value: Any) -> Prediction:
        """Invert `to_json`."""

    def report(
        self, examples: Sequence[Example], predictions: Sequence[Prediction], labels: Sequence[str]
    ) -> Mapping[str, Any]:
        """Return the details that `tlbench show` prints: per-class precision, recall, F1; confusion matrix."""
        return {}
