"""What a learner, neural or not, returns for one cell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tlbench.strategy import Prediction

READ_AGAIN = ", read again"
"""How a record's `upstream` title of a text ends if the model declares to have read that text before."""


@dataclass(frozen=True)
class Learned:
    """What a learner returns for one cell.

    Attributes:
        validation: Predictions on the cell's validation examples, in order.
        test: Predictions on the test examples, in order.
        training: The record's `training` group.
        model: Sizes that the record's `model` group adds.
        flops: Floating-point operations of training and prediction, estimated.
    """

    validation: list[Prediction]
    test: list[Prediction]
    training: Mapping[str, Any]
    model: Mapping[str, Any]
    flops: float
