"""The optimizers: AdamW from torch, and AdamW with step sizes scaled by each matrix's RMS."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import nn

from tlbench.engine.layers import layer_groups
from tlbench.setups import Recipe

SMALLEST_SCALE = 1e-3


class RmsAdamW(torch.optim.AdamW):
    """AdamW whose step on each tensor is scaled by the tensor's root mean square (at least 1e-3).

    The relative step size of Adafactor (arXiv:1804.04235) with Adam's moments, as in the nanoT5 study
    (arXiv:2309.02373); what T5-like models are trained with here, in every strategy and in pre-training. Decay is
    scaled as well. Every tensor has a group of its own, whose rate is scaled for the step: so torch's fused kernel does
    the work, 2.4 times as fast on a CPU as foreach kernels are.
    """

    def __init__(self, params: Iterable[Any], lr: float, **options: Any) -> None:
        """Take parameters or groups, and the options of torch's AdamW."""
        given = [group if isinstance(group, dict) else {"params": [group]} for group in params]
        super().__init__([{**group, "params": [p]} for group in given for p in group["params"]], lr=lr, **options)

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Take one step, and return the closure's loss, if there is one."""
        rates = [group["lr"] for group in self.param_groups]
        tensors = [group["params"][0].detach() for group in self.param_groups]
        norms = torch._foreach_norm(tensors)
        sizes = torch.stack([norm.to(norms[0].device) for norm in norms]).tolist()  # one wait for a GPU, not one each
        for group, size, tensor in zip(self.param_groups, sizes, tensors, strict=True):
            group["lr"] *= max(SMALLEST_SCALE, size / math.sqrt(tensor.numel()))
        try:
            return super().step(closure)
        finally:
            for group, rate in zip(self.param_groups, rates, strict=True):
                group["lr"] = rate


def build(
    trunk: nn.Module, head: nn.Module | None, recipe: Recipe, rest: Sequence[nn.Parameter] = ()
) -> torch.optim.Optimizer:
    """Return the recipe's optimizer over everything that is trainable.

    Matrices decay, vectors (biases, norms) do not; the head has a learning rate of its own, and so has each layer
    group of the trunk where the recipe's `layer_decay` is not 1. `rest` are further weights, at the trunk's full rate.
    """
    groups = []
    fresh = [] if head is None else list(head.parameters())
    for found, rate in (*_rates(trunk, recipe), (list(rest), recipe.learning_rate),
                        (fresh, recipe.head_learning_rate)):
        moving = [p for p in found if p.requires_grad]
        assert all(p.dtype == torch.float32 for p in moving), "trainable weights must be float32"
        matrices = [p for p in moving if p.ndim > 1]
        vectors = [p for p in moving if p.ndim <= 1]
        groups += [
            {"params": matrices, "lr": rate, "weight_decay": recipe.weight_decay},
            {"params": vectors, "lr": rate, "weight_decay": 0.0},
        ]
    groups = [group for group in groups if group["params"]]
    on_one_device = len({p.device.type for group in groups for p in group["params"]}) == 1  # type: ignore[attr-defined]
    kind = RmsAdamW if recipe.optimizer == "rms-adamw" else torch.optim.AdamW
    return kind(groups, lr=recipe.learning_rate, fused=on_one_device)


def _rates(trunk: nn.Module, recipe: Recipe) -> list[tuple[list[nn.Parameter], float]]:
    """Return the trunk's weights with their learning rates (layer-wise decay: ULMFiT, arXiv:1801.06146)."""
    if recipe.layer_decay == 1.0:
        return [(list(trunk.parameters()), recipe.learning_rate)]
    named = dict(trunk.named_parameters())
    groups = layer_groups(trunk)
    return [
        ([named[name] for name in group], recipe.learning_rate * recipe.layer_decay ** (len(groups) - 1 - place))
        for place, group in enumerate(groups)
    ]
