"""Numeric precision: chosen once per machine by a probe, recorded, and switched on around each step."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

import torch

from tlbench.canonical import digest
from tlbench.files import write_cache
from tlbench.grid import PrecisionPolicy

Precision = Literal["fp32", "bf16"]
_SHAPE = (1024, 384, 1536)
_WORTH = 1.6
"""How much faster bf16 products must be before autocast pays for its conversions."""


def instruction_set() -> str:
    """Return the CPU's matrix instructions as torch sees them, for the numerics class."""
    level = torch.backends.cpu.get_cpu_capability()
    flags = [
        name
        for name, test in (("amx", "_is_amx_tile_supported"), ("bf16", "_is_avx512_bf16_supported"))
        if getattr(torch.cpu, test, lambda: False)()
    ]
    return "+".join([level, *flags])


def choose(policy: PrecisionPolicy, device: torch.device, cache: Path) -> Precision:
    """Return the precision of all cells of a run.

    `auto` takes bf16 autocast on a GPU that has it, and on a CPU where a product of a small encoder's shape is
    at least 1.6 times as fast in bf16. The probe's answer is cached per machine, so that a resumed run and its
    workers use the same.
    """
    if policy != "auto":
        return policy
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    if device.type != "cpu":
        return "fp32"
    facts = [platform.machine(), platform.processor(), instruction_set(), torch.__version__, _SHAPE, _WORTH]
    path = cache / "precision" / f"{digest(facts, 16)}.json"
    with suppress(OSError, ValueError, KeyError, TypeError):  # a damaged answer is asked for again
        cached: Precision = json.loads(path.read_text())["precision"]
        return cached
    usual = _seconds(torch.float32)
    ratio = usual / _seconds(torch.bfloat16, hopeless=10 * usual)
    chosen: Precision = "bf16" if ratio >= _WORTH else "fp32"
    write_cache(path, json.dumps({"precision": chosen, "bf16_speed_up": round(ratio, 2)}).encode())
    return chosen


def _seconds(dtype: torch.dtype, hopeless: float = float("inf")) -> float:
    """Return the median time of one matrix product, or the first one's if that takes longer than `hopeless`.

    Emulated bf16 is a hundred times slower than fp32 on an AVX2 core: a full probe there takes 15 seconds.
    """
    m, k, n = _SHAPE
    a, b = torch.randn(m, k, dtype=dtype), torch.randn(k, n, dtype=dtype)
    times: list[float] = []
    while len(times) < 12:
        start = time.perf_counter()
        torch.mm(a, b)
        times.append(time.perf_counter() - start)
        if times[0] > hopeless:
            return times[0]
    return sorted(times[2:])[len(times[2:]) // 2]


@contextmanager
def autocast(precision: Precision, device: torch.device) -> Iterator[None]:
    """Run the block in the given precision; parameters stay float32."""
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16", cache_enabled=True):
        yield
