"""How well the machine is used: the FLOPs of a step, and the rate of matrix products that it could reach."""

from __future__ import annotations

import time

import torch
from torch.utils.flop_counter import FlopCounterMode

from tlbench.engine.place import Place
from tlbench.engine.precision import Precision
from tlbench.engine.pretraining.run import Run

_SIZES = {"cpu": 1024, "cuda": 8192}
_REPEATS = 5


def step_flops(run: Run) -> int:
    """Return the FLOPs of a step's matrix products, forward and backward, over all ranks.

    Counted by torch on the rows of step 0 of this rank; element-wise work and the optimizer are left out, so the
    rate computed from it is the useful one.
    """
    part = {name: values[:1].to(run.place.device) for name, values in run.batch(0).items()}
    with FlopCounterMode(display=False) as counter:
        run.student(part).sum().backward()
    run.optimizer.zero_grad()
    return int(counter.get_total_flops()) * run.recipe.batch


def gemm_peak(place: Place, precision: Precision) -> float:
    """Return the FLOP/s of a large square matrix product in the run's precision and with its threads: best of five."""
    kind = place.device.type if place.device.type in _SIZES else "cpu"
    size, dtype = _SIZES[kind], torch.bfloat16 if precision == "bf16" else torch.float32
    left, right = (torch.randn(size, size, dtype=dtype, device=place.device) for _ in range(2))
    best = float("inf")
    for _ in range(_REPEATS + 1):
        start = time.perf_counter()
        torch.mm(left, right)
        if kind == "cuda":
            torch.cuda.synchronize(place.device)
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best
