"""Stages on a bench: made once, by whoever comes first."""

from __future__ import annotations

import errno
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

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


@pytest.mark.parametrize("left", [b"", b"\x93NUMPY", b"no array at all", None], ids=["empty", "head", "text", "half"])
def test_a_damaged_stage_is_made_again(left: bytes | None, shop: Shop, tmp_path: Path) -> None:
    bench = replace(bench_for(shop, Clock()), stages=StageStore(tmp_path))

    def ask() -> tuple[list[float], bool]:
        arrays, there = bench.stage("squares", {"of": 3}, lambda: {"values": np.arange(500.0), "more": np.zeros(1)})
        return arrays["values"].tolist(), there

    right = np.arange(500.0).tolist()
    assert [ask(), ask()] == [(right, False), (right, True)]
    file = StageStore(tmp_path).path("squares", {"of": 3}) / "values.npy"
    file.write_bytes(file.read_bytes()[:2000] if left is None else left)
    assert [ask(), ask()] == [(right, False), (right, True)]


def test_a_stage_that_cannot_be_opened_now_stays(shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*given: object, **named: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    bench = replace(bench_for(shop, Clock()), stages=StageStore(tmp_path))
    bench.stage("squares", {"of": 3}, lambda: {"values": np.arange(3)})
    with monkeypatch.context() as patch:
        patch.setattr(np, "load", full)
        with pytest.raises(OSError, match="Too many open files"):
            bench.stage("squares", {"of": 3}, lambda: {"values": np.arange(3)})
    assert bench.stage("squares", {"of": 3}, lambda: {"values": np.arange(3)})[1]


@pytest.mark.parametrize("fault", ["no folder", "full disk"])
def test_what_cannot_be_kept_is_made_anew(
    fault: str, shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "root"
    if fault == "no folder":
        root.write_text("a file")
    else:
        def full(*given: object, **named: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(np, "save", full)
    bench = replace(bench_for(shop, Clock()), stages=StageStore(root))
    for _ in range(2):
        arrays, there = bench.stage("squares", {"of": 3}, lambda: {"values": np.arange(3)})
        assert arrays["values"].tolist() == [0, 1, 2]
        assert not there
