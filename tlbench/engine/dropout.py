"""Dropout masks drawn in bulk, for the CPU.

torch draws a CPU dropout mask one Bernoulli number at a time from one serial generator: a quarter of a training
step of a small encoder. Here masks are 16-bit random integers, drawn in one go from NumPy's SFC64 and compared
with a threshold; the rate is the nearest multiple of 1/65,536 and the scale is exact for it. On other devices torch's
own dropout is used.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import eager_mask

ATTENTION = "tlbench_cpu"
_LEVELS = 65_536


class Masks:
    """The random stream that all dropout masks of a process are drawn from."""

    def __init__(self) -> None:
        """Start from seed 0; `seed` sets the stream of a cell."""
        self.seed(0)

    def seed(self, seed: int) -> None:
        """Restart the stream."""
        self._bits = np.random.Generator(np.random.SFC64(seed))

    def keep(self, tensor: torch.Tensor, rate: float) -> torch.Tensor:
        """Return `tensor` with a share `rate` of its entries zeroed and the rest scaled up."""
        threshold = round(rate * _LEVELS)
        if threshold == 0:
            return tensor
        count = tensor.numel()
        raw = np.frombuffer(self._bits.bytes(2 * count), dtype=np.uint16)
        kept = torch.from_numpy(raw >= threshold).view(tensor.shape)
        scale = _LEVELS / (_LEVELS - threshold)
        return tensor * kept.to(tensor.dtype).mul_(scale)


MASKS = Masks()


class StreamDropout(nn.Module):
    """Drop entries with masks from the process's stream; does nothing in eval mode."""

    def __init__(self, rate: float) -> None:
        """Remember the rate, 0 <= rate < 1."""
        super().__init__()
        self.p = rate

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return `hidden` of any shape with entries dropped while training."""
        return MASKS.keep(hidden, self.p) if self.training and self.p else hidden


def replace_dropout(module: nn.Module) -> None:
    """Put `StreamDropout` in place of every `nn.Dropout` inside a module."""
    for name, child in module.named_children():
        if type(child) is nn.Dropout:
            setattr(module, name, StreamDropout(child.p))
        else:
            replace_dropout(child)


def attention(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **options: Any,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attend with plain matrix products and stream dropout (transformers' attention interface).

    Args:
        module: The attention layer.
        query: Shape (batch, heads, queries, width).
        key: Shape (batch, key heads, keys, width).
        value: Shape (batch, key heads, keys, width).
        attention_mask: Added to the scores, shape (batch, 1, queries, keys), or `None`.
        scaling: Factor on the scores; 1/sqrt(width) if absent.
        dropout: Rate on the attention weights.
        options: `position_bias` is added to the scores; the rest is ignored.

    Returns:
        Output of shape (batch, queries, heads, width), and the weights.
    """
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    scores = torch.matmul(query, key.transpose(2, 3)) * (query.shape[-1] ** -0.5 if scaling is None else scaling)
    if options.get("position_bias") is not None:
        scores = scores + options["position_bias"]
    if attention_mask is not None:
        scores = scores + attention_mask[:, :, :, : key.shape[-2]]
    weights = torch.softmax(scores, dim=-1, dtype=torch.float32).to(value.dtype)
    weights = MASKS.keep(weights, dropout) if dropout and module.training else weights
    return torch.matmul(weights, value).transpose(1, 2).contiguous(), weights


def register() -> None:
    """Make the attention known to transformers under the name `ATTENTION`."""
    AttentionInterface.register(ATTENTION, attention)
    AttentionMaskInterface.register(ATTENTION, eager_mask)
