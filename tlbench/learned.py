"""What a learner, neural or not, returns for one cell, and what it learned from before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tlbench.strategy import Prediction

READ_AGAIN = ", read again"
"""How a record's `upstream` title of a text ends if the model's declared training data include that text."""


@dataclass(frozen=True)
class Used:
    """What a cell learned from beside its own labels, as its record tells it.

    Attributes:
        task: Name of the source task, or what else it was.
        labels: Its labels, training and validation together; 0 if it brings in none.
        stage: Identity of the stage's content; cells that name the same one share it. Empty for a task that is
            learned at the same time.
        shared: Whether all replicates start from it.
        seconds: What it cost when it was computed (standalone).
        spent: What it cost this cell: 0 if it was there already (marginal).
        left_out: Source examples that were left out because their text nearly repeats one of the target's test texts.
        validation_score: The source model's primary metric on the source's validation labels; 0 without any.
        predictors: What could be known of the gain before training on the target (`tlbench.transferability`).
    """

    task: str
    labels: int = 0
    stage: str = ""
    shared: bool = False
    seconds: float = 0.0
    spent: float = 0.0
    left_out: int = 0
    validation_score: float = 0.0
    predictors: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Learned:
    """What a learner returns for one cell.

    Attributes:
        validation: Predictions on the cell's validation examples, in order.
        test: Predictions on the test examples, in order.
        training: The record's `training` group.
        model: Sizes that the record's `model` group adds.
        flops: Floating-point operations of training and prediction, estimated.
        likelihoods: What the model states about the right answers of the test examples, in order, where the task asks.
    """

    validation: list[Prediction]
    test: list[Prediction]
    training: Mapping[str, Any]
    model: Mapping[str, Any]
    flops: float
    likelihoods: Sequence[Any] = ()
