"""Runs that resume, fail in part, are killed, and run beside each other."""

from __future__ import annotations

import errno
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from tlbench import api, records
from tlbench.api import Options, Ran, execute
from tlbench.engine.place import Place
from tlbench.errors import UserError
from tlbench.planning import Request
from tlbench.records import Store, current
from tlbench.runner import lock
from tlbench.sources import DataSource
from tlbench.workshop import PluginSpec

STRATEGIES = ("floor", "slow(seconds=0.3)", "finetune+short", "feature-extraction+short", "lora+short", "scratch+short")


@pytest.fixture
def request_of(zoo: Callable[..., Path]) -> Callable[..., Request]:
    """Return a function that asks for toy cells."""

    def make(*strategies: str, **changes: Any) -> Request:
        request = Request(("toy-topic",), strategies, (str(zoo("encoder")),), replicates=2, precision="fp32")
        return replace(request, **changes)

    return make


@pytest.fixture
def run(toys: ModuleType, source: DataSource, tmp_path: Path) -> Callable[..., Ran]:
    """Return a function that runs a request in this process, into a folder of the test."""
    torch.set_num_threads(1)

    def execute_here(request: Request, **options: Any) -> Ran:
        given = Options(**{"out": tmp_path / "out", **options})
        return execute(request, given, source, PluginSpec((Path(str(toys.__file__)),)))

    return execute_here


def files(folder: Path) -> dict[str, bytes]:
    """Return the content of the finished files of a results folder."""
    return {path.name: path.read_bytes() for path in (folder / "records").glob("[!.]*")}


def hashes(folder: Path) -> dict[str, str]:
    """Return the hash of predictions and statistics by cell."""
    return {record.key: record.predictions["sha256"] for record in Store(folder).load() if record.predictions}


# --- resuming and failing -------------------------------------------------------------------------------------------


def test_second_run_runs_nothing(request_of: Callable[..., Request], run: Callable[..., Ran]) -> None:
    request = request_of("floor", "finetune+short")
    first = run(request)
    before = files(first.folder)
    second = run(request)
    assert (len(first.records), first.reused) == (4, 0)
    assert (len(second.records), second.reused) == (0, 4)
    assert files(first.folder) == before
    assert second.markdown == first.markdown


def test_larger_request_runs_what_is_new(request_of: Callable[..., Request], run: Callable[..., Ran]) -> None:
    run(request_of("floor"))
    more = run(request_of("floor", "slow(seconds=0.0)", replicates=3))
    assert (len(more.records), more.reused) == (4, 2)


def test_unsupported_cell_is_a_record_without_training(
    request_of: Callable[..., Request], run: Callable[..., Ran]
) -> None:
    ran = run(request_of("finetune", tasks=("toy-copy",)))
    assert [(record.status, record.evaluation) for record in ran.records] == [("unsupported", None)] * 2
    assert ran.failures == []


def test_failure_stays_visible_and_is_repeated_only_on_demand(
    request_of: Callable[..., Request], run: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    request = request_of("stumble", "floor", replicates=1)
    first = run(request)
    assert [record.status for record in first.records] == ["failed", "ok"]
    assert first.failures[0].reason.startswith("RuntimeError: it stumbled over two lines (toys.py:")
    monkeypatch.setenv("TOY_MENDED", str(tmp_path))
    assert run(request).records == []
    again = run(request, retry_failed=True)
    assert [record.status for record in again.records] == ["ok"]
    kept = Store(first.folder).load()
    assert sorted(record.status for record in kept) == ["failed", "ok", "ok"]
    assert {record.status for record in current(kept)[0]} == {"ok"}
    assert run(request, retry_failed=True).records == []


def test_budget_beyond_the_data_fails_with_one_sentence(
    request_of: Callable[..., Request], run: Callable[..., Ran]
) -> None:
    ran = run(request_of("floor", "finetune+short", budgets=(5000,), replicates=1))
    assert {record.status for record in ran.records} == {"failed"}
    assert all("more labels than task 'toy-topic' has" in record.reason for record in ran.records)


def test_fresh_starts_beside_and_deletes_nothing(request_of: Callable[..., Request], run: Callable[..., Ran]) -> None:
    request = request_of("floor", replicates=1)
    first = run(request)
    before = files(first.folder)
    second = run(request, fresh=True)
    assert second.folder.name == "out-2"
    assert len(second.records) == 1
    assert files(first.folder) == before


# --- folders that cannot be used ------------------------------------------------------------------------------------


def test_second_run_in_one_folder_is_refused(
    request_of: Callable[..., Request], run: Callable[..., Ran], tmp_path: Path
) -> None:
    with lock(tmp_path / "out"), pytest.raises(UserError, match="another run is writing"):
        run(request_of("floor"))
    assert len(run(request_of("floor")).records) == 2


def test_folder_that_cannot_be_made_is_refused(
    request_of: Callable[..., Request], run: Callable[..., Ran], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written to"):
        run(request_of("floor"), out=tmp_path / "file" / "out")


def test_full_disk_keeps_what_was_finished_and_ends_training(
    request_of: Callable[..., Request], run: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    closed, written, write = [], [], records.write_atomically

    def full(path: Path, content: bytes) -> None:
        if len(written) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(path, content)
        written.append(path)

    monkeypatch.setattr(records, "write_atomically", full)
    monkeypatch.setattr(Place, "close", lambda place: closed.append(place))
    with pytest.raises(UserError, match="No space left on device"):
        run(request_of("floor"))
    assert len(Store(tmp_path / "out").load()) == 1
    assert len(closed) == 1
    monkeypatch.setattr(records, "write_atomically", write)
    assert len(run(request_of("floor")).records) == 1
    assert len(closed) == 2


@pytest.mark.parametrize("damage", [lambda text: text[:500], lambda text: text.replace(b'"ok"', b'"no"', 1)])
def test_changed_record_is_named(
    damage: Callable[[bytes], bytes], request_of: Callable[..., Request], run: Callable[..., Ran]
) -> None:
    folder = run(request_of("floor")).folder
    name = Store(folder).names()[0]
    path = folder / "records" / name
    path.write_bytes(damage(path.read_bytes()))
    before = files(folder)
    with pytest.raises(UserError, match=f"{name}.*truncated or was edited"):
        run(request_of("floor"))
    assert files(folder) == before


# --- other processes ------------------------------------------------------------------------------------------------


@pytest.fixture
def command(
    toys: ModuleType, zoo: Callable[..., Path], source: DataSource, tmp_path: Path
) -> tuple[list[str], dict[str, str]]:
    """Return the arguments of a run of all `STRATEGIES` and its environment."""
    arguments = [
        "run", "--plugin", str(toys.__file__), "--tasks", "toy-topic", "--strategies", ",".join(STRATEGIES),
        "--models", str(zoo("encoder")), "--replicates", "2", "--precision", "fp32", "--offline",
        "--out", str(tmp_path / "fresh"),
    ]
    return arguments, {**os.environ, "TLBENCH_CACHE": str(source.cache), "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def reference(
    toys: ModuleType, zoo: Callable[..., Path], source: DataSource, tmp_path_factory: pytest.TempPathFactory
) -> Ran:
    """Return a run of all `STRATEGIES` in this process, which has run other cells before."""
    torch.set_num_threads(1)
    folder, plugins = tmp_path_factory.mktemp("reference"), PluginSpec((Path(str(toys.__file__)),))
    usual = Request(("toy-topic",), STRATEGIES, (str(zoo("encoder")),), replicates=2, precision="fp32")
    other = replace(usual, tasks=("toy-names",), strategies=("finetune+short", "lora+short"), replicates=1)
    execute(other, Options(folder / "other"), source, plugins)
    return execute(usual, Options(folder / "warm"), source, plugins)


@pytest.mark.slow
def test_killed_run_resumes_and_equals_an_uninterrupted_one(
    command: tuple[list[str], dict[str, str]], reference: Ran, tmp_path: Path
) -> None:
    """SIGKILL at five random moments; then fresh and warm processes agree bit for bit."""
    arguments, environment = command
    draw, folder = random.Random(7), tmp_path / "fresh"
    call = [sys.executable, "-m", "tlbench", *arguments]
    kept: dict[str, bytes] = {}
    for _ in range(5):
        if len(kept) >= 10:
            break  # this machine is too fast, or looks too seldom, for another kill before the end
        goal = len(Store(folder).names()) + draw.randint(0, 2)
        process = subprocess.Popen(call, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and len(Store(folder).names()) < goal:
            time.sleep(0.01)
        time.sleep(draw.random() * 0.5)
        process.send_signal(signal.SIGKILL)
        process.wait()
        for mark in (folder / "attempts").glob("*-2"):  # a cell that was lost twice would fail: `test_attempts.py`
            mark.unlink()
        now = files(folder)
        assert kept.items() <= now.items()
        kept = {name: content for name, content in now.items() if name.endswith(".json")}
        Store(folder).load()
    assert 0 < len(kept) < len(reference.plan.cells)
    last = subprocess.run(call, env=environment, capture_output=True, text=True, check=False)
    assert last.returncode == 0, last.stderr
    assert kept.items() <= files(folder).items()
    assert Store(folder).keys() == {cell.key for cell in reference.plan.cells}
    assert len(Store(folder).names()) == len(reference.plan.cells)
    assert hashes(folder) == hashes(reference.folder)

    # All is done now: the same command must not even import torch.
    script = "import sys; from tlbench.cli import main; main(); sys.exit(7 if 'torch' in sys.modules else 0)"
    idle = subprocess.run([sys.executable, "-c", script, *arguments], env=environment, capture_output=True, text=True,
                          check=False)
    assert idle.returncode == 0, idle.stderr
    assert "0 cells run, 12 reused" in idle.stderr


@pytest.mark.slow
def test_workers_give_the_same_predictions(
    request_of: Callable[..., Request], run: Callable[..., Ran], reference: Ran, monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(api.os, "sched_getaffinity", lambda process: {0, 1}, raising=False)
    ran = run(request_of(*STRATEGIES), out=tmp_path / "workers", workers=2)
    assert hashes(ran.folder) == hashes(reference.folder)
    assert all(record.cost["contended"] for record in ran.records)


@pytest.mark.slow
def test_worker_that_is_killed_costs_its_cell_alone(
    request_of: Callable[..., Request], run: Callable[..., Ran]
) -> None:
    ran = run(request_of("slow(seconds=0.0)", "stumble(way=die)", "stumble", "floor", replicates=1), workers=2)
    status = {(record.strategy["name"], record.replicate): record.status for record in ran.records}
    assert len(status) == len(ran.records) == 4
    assert {name for (name, _), state in status.items() if state == "ok"} == {"slow(seconds=0.0)", "floor"}
    reasons = {record.strategy["name"]: record.reason for record in ran.failures}
    assert "exit code -9" in reasons["stumble(way=die)"]
    assert "it stumbled" in reasons["stumble"]
    assert json.loads((ran.folder / "board.json").read_text())["rows"]


@pytest.mark.slow
def test_workers_know_a_teacher_that_the_command_names_by_its_folder(
    run: Callable[..., Ran], request_of: Callable[..., Request], zoo: Callable[..., Path]
) -> None:
    ran = run(request_of(f"distill(teacher={zoo('decoder')},members=1)+short"), workers=2)
    assert [record.evaluation is not None for record in ran.records] == [True, True], ran.records[0].reason
