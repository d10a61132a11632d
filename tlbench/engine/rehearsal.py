"""Before ranks train together: whether the largest micro-batch fits into the memory of each.

A rank that fails inside a training step leaves the others waiting in a collective, where nothing can be agreed any
more; so memory is tried out before the first step, where it can.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from tlbench.engine.encoding import Encoded
from tlbench.engine.precision import Precision, autocast

_KEPT = 3
"""Tensors of the size of a moving weight that training holds beside its gradient: AdamW's moments, the best weights."""


def rehearse(machine: nn.Module, encoded: Encoded, size: int, precision: Precision, device: torch.device) -> None:
    """Run one forward and backward pass of the most demanding micro-batch and forget it.

    Weights, buffers and gradients are left as they were; the random streams are not, so seed them afterwards.

    Args:
        machine: Module on the device, without gradients; not the wrapped one, which would talk to other ranks.
        encoded: Encoded training examples.
        size: Examples of the micro-batch.
        precision: Numeric precision.
        device: Where the machine is.
    """
    buffers = [(buffer, buffer.detach().clone()) for buffer in machine.buffers()]
    moving = [p for p in machine.parameters() if p.requires_grad]
    held = [torch.empty_like(p) for p in moving for _ in range(_KEPT)]
    machine.train()
    try:
        with autocast(precision, device):
            loss = machine(encoded.batch(longest(encoded, size), device))
        loss.backward()
    finally:
        held.clear()
        for p in moving:
            p.grad = None
        for buffer, before in buffers:
            buffer.copy_(before)


def longest(encoded: Encoded, size: int) -> list[int]:
    """Return up to `size` rows, the longest ones by tokens, and the longest one of each other array among them."""
    order = np.argsort(-encoded.tokens.lengths, kind="stable").tolist()
    leaders = [int(np.argmax(ragged.lengths)) for ragged in encoded.ragged.values() if len(ragged.lengths)]
    return list(dict.fromkeys([*order[:1], *leaders, *order]))[:size]
