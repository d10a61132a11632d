"""The optimizers: AdamW from torch, and AdamW with step sizes scaled by each matrix's RMS."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import nn

from tlbench.engine.layers import layer_groups
from tlbench.setups import Recipe


class RmsAdamW(torch.optim.Optimizer):
    """AdamW whose step on each tensor is scaled by the tensor's root mean square (at least 1e-3).

    The relative step size of Adafactor (arXiv:1804.04235) with Adam's moments, as in the nanoT5 study
    (arXiv:2309.02373); what T5-like models are trained with here, in every strategy.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        """Take parameters or groups, as torch's own optimizers do."""
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Take one step, all tensors of a group at once (torch's foreach kernels)."""
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            if not params:
                continue
            grads = [p.grad for p in params]
            for p in params:
                if not self.state[p]:
                    self.state[p].update(m=torch.zeros_like(p), v=torch.zeros_like(p), t=0)
                self.state[p]["t"] += 1  # of each tensor, since one may begin to move later than another
            first = [self.state[p]["m"] for p in params]
            second = [self.state[p]["v"] for p in params]
            beta1, beta2 = group["betas"]
            bias = [(1 - beta2 ** self.state[p]["t"]) ** 0.5 / (1 - beta1 ** self.state[p]["t"]) for p in params]
            torch._foreach_lerp_(first, grads, 1 - beta1)
            torch._foreach_mul_(second, beta2)
            torch._foreach_addcmul_(second, grads, grads, 1 - beta2)
            scale = torch.stack(torch._foreach_norm(params))
            scale = (scale / torch.tensor([p.numel() for p in params], device=scale.device).sqrt()).clamp_(min=1e-3)
            denominators = torch._foreach_sqrt(second)
            torch._foreach_add_(denominators, group["eps"])
            updates = torch._foreach_div(first, denominators)
            torch._foreach_mul_(updates, [-group["lr"] * b * s for b, s in zip(bias, scale.tolist(), strict=True)])
            if group["weight_decay"]:
                torch._foreach_mul_(params, 1 - group["lr"] * group["weight_decay"])
            torch._foreach_add_(params, updates)


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
    if recipe.optimizer == "rms-adamw":
        return RmsAdamW(groups, lr=recipe.learning_rate)
    on_one_device = len({p.device.type for group in groups for p in group["params"]}) == 1  # type: ignore[attr-defined]
    return torch.optim.AdamW(groups, lr=recipe.learning_rate, fused=on_one_device)


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
