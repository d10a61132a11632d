"""Stages on a bench: made once, by whoever comes first."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np

from tlbench.cells import Shop, bench_for
from tlbench.engine.measure import Clock
from tlbench.stages.store import Arrays, StageStore


def test_two_workers_make_a_stage_once(shop: Shop, tmp_path: Path) -> None:
    bench = replace(bench_for(shop, Clock()), stages=StageStore(tmp_path))
    calls, start = [], threading.Barrier(2)

    def make() -> Arrays:
        calls.append(1)
        time.sleep(0.3)
        return {"values": np.arange(3)}

    def ask() -> tuple[list[int], bool]:
        start.wait()
        arrays, there = bench.stage("squares", {"of": 3}, make)
        return arrays["values"].tolist(), there

    with ThreadPoolExecutor(2) as pool:
        found = [future.result() for future in [pool.submit(ask), pool.submit(ask)]]
    assert len(calls) == 1
    assert sorted(found, key=str) == [([0, 1, 2], False), ([0, 1, 2], True)]


def test_full_disk_costs_the_reuse_alone(shop: Shop, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("no folder")
    bench = replace(bench_for(shop, Clock()), stages=StageStore(blocked))
    for _ in range(2):
        arrays, there = bench.stage("squares", {"of": 3}, lambda: {"values": np.arange(3)})
        assert arrays["values"].tolist() == [0, 1, 2]
        assert not there
