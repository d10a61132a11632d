"""Learners held to one thread of linear algebra."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

from tlbench import Example, LearnerModel, Prediction, Shared, Stages, TextModel


class OneThread(LearnerModel):
    """A learner held to one thread of linear algebra.

    Its matrices are small: more threads only cost time (up to tenfold, measured on two busy cores), and sums
    that are split over threads differ in the last bits from machine to machine.
    """

    def __init__(self, learner: LearnerModel) -> None:
        self.learner = learner

    def use(self, model: TextModel) -> None:
        """Hand the cell's model on."""
        self.learner.use(model)

    def read(self, texts: Sequence[str]) -> None:
        """Hand unlabelled text on."""
        self.learner.read(texts)

    def keep_in(self, stages: Stages) -> None:
        """Hand on what keeps arrays for other cells."""
        self.learner.keep_in(stages)

    def fit(self, train: Sequence[Example], validation: Sequence[Example]) -> Mapping[str, Any]:
        """Fit the learner."""
        with one_thread():
            return self.learner.fit(train, validation)

    def shared(self) -> Shared | None:
        """Hand on what the learner shares between cells."""
        return self.learner.shared()

    def notes(self) -> Mapping[str, Any]:
        """Hand on what the predictions showed."""
        return self.learner.notes()

    def predict(self, examples: Sequence[Example]) -> list[Prediction]:
        """Predict with the learner."""
        with one_thread():
            return self.learner.predict(examples)


def one_thread() -> AbstractContextManager[Any]:
    """Return a context that limits the linear algebra to one thread."""
    importlib.import_module("sklearn.linear_model")  # only libraries that are loaded by now can be limited
    limits: AbstractContextManager[Any] = importlib.import_module("threadpoolctl").threadpool_limits(1)
    return limits
