"""RMS-scaled AdamW against a loop written from its definition."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from tlbench.engine.optimizer import RmsAdamW, build
from tlbench.setups import Recipe


def by_hand(
    values: list[float], gradients: list[list[float]], lr: float, decay: float, eps: float = 1e-8
) -> list[float]:
    """Return one tensor's values after a step for each gradient."""
    values, m, v = list(values), [0.0] * len(values), [0.0] * len(values)
    for t, gradient in enumerate(gradients, start=1):
        rms = max(1e-3, math.sqrt(sum(x * x for x in values) / len(values)))
        for i, g in enumerate(gradient):
            m[i] = 0.9 * m[i] + 0.1 * g
            v[i] = 0.999 * v[i] + 0.001 * g * g
            first, second = m[i] / (1 - 0.9**t), v[i] / (1 - 0.999**t)
            values[i] = values[i] * (1 - lr * rms * decay) - lr * rms * first / (math.sqrt(second) + eps)
    return values


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_rms_adamw_equals_its_definition(decay: float, fused: bool) -> None:
    starts = {"large": [4.0, -2.0, 1.0], "tiny": [1e-5, -1e-6], "zero": [0.0]}
    random = torch.Generator().manual_seed(0)
    gradients = {n: [torch.randn(len(s), generator=random).tolist() for _ in range(6)] for n, s in starts.items()}
    params = {n: nn.Parameter(torch.tensor(s, dtype=torch.float64)) for n, s in starts.items()}
    optimizer = RmsAdamW(list(params.values()), lr=0.05, weight_decay=decay, fused=fused)
    for step in range(6):
        for name, p in params.items():
            p.grad = torch.tensor(gradients[name][step], dtype=torch.float64)
        optimizer.step()
    for name, p in params.items():
        assert p.tolist() == pytest.approx(by_hand(starts[name], gradients[name], 0.05, decay), rel=1e-7)


def test_rms_adamw_step_is_relative_to_the_tensor() -> None:
    small, large = nn.Parameter(torch.full((4,), 0.1)), nn.Parameter(torch.full((4,), 10.0))
    optimizer = RmsAdamW([small, large], lr=0.01, weight_decay=0.0)
    for p in (small, large):
        p.grad = torch.ones(4)
    optimizer.step()
    assert (small / 0.1).tolist() == pytest.approx((large / 10).tolist())
    assert large.tolist() == pytest.approx([9.9] * 4, rel=1e-4)


def test_rms_adamw_skips_parameters_without_gradient() -> None:
    p, idle = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    optimizer = RmsAdamW([p, idle], lr=0.1, weight_decay=0.0)
    p.grad = torch.ones(2)
    optimizer.step()
    assert idle.tolist() == [1, 1]
    assert [group["lr"] for group in optimizer.param_groups] == [0.1, 0.1], "a step leaves the rates as they were"
    assert p.tolist() == pytest.approx([0.9, 0.9], rel=1e-4)


@pytest.mark.parametrize("name", ["adamw", "rms-adamw"])
def test_groups_hold_rates_and_decay(name: str) -> None:
    trunk, head = nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3)), nn.Linear(3, 2)
    trunk[1].weight.requires_grad_(False)
    recipe = Recipe(optimizer=name, learning_rate=1e-4, head_learning_rate=1e-2, weight_decay=0.1)
    groups = build(trunk, head, recipe).param_groups
    found = {id(p): (group["lr"], group["weight_decay"]) for group in groups for p in group["params"]}
    assert found == {
        id(trunk[0].weight): (1e-4, 0.1), id(trunk[0].bias): (1e-4, 0.0), id(trunk[1].bias): (1e-4, 0.0),
        id(head.weight): (1e-2, 0.1), id(head.bias): (1e-2, 0.0),
    }


def test_lower_precision_weights_are_refused() -> None:
    with pytest.raises(AssertionError, match="float32"):
        build(nn.Linear(2, 2).to(torch.bfloat16), None, Recipe())


def test_frozen_trunk_leaves_the_head_alone() -> None:
    trunk, head = nn.Linear(2, 2).requires_grad_(False), nn.Linear(2, 2)
    groups = build(trunk, head, Recipe()).param_groups
    assert [p.shape for group in groups for p in group["params"]] == [head.weight.shape, head.bias.shape]
