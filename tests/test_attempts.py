"""A cell that kills its process does not block the run; a single kill, or an end on purpose, is not held against it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from tlbench import attempts
from tlbench.api import Options, Ran, execute
from tlbench.attempts import Attempts, unwinding
from tlbench.errors import UserError
from tlbench.planning import Request, make_plan
from tlbench.records import Outcome, Record, Store
from tlbench.runner import Silent, todo
from tlbench.sources import DataSource
from tlbench.workshop import PluginSpec, open_registry

USUAL = Request(("toy-topic",), ("stumble", "floor"), replicates=1, precision="fp32")


@pytest.fixture
def run(toys: ModuleType, source: DataSource, tmp_path: Path) -> Callable[..., Ran]:
    """Return a function that runs cells of the toy classes in this process."""
    torch.set_num_threads(1)

    def execute_here(*strategies: str, **options: Any) -> Ran:
        request = replace(USUAL, strategies=strategies or USUAL.strategies)
        return execute(request, Options(tmp_path / "out", **options), source, PluginSpec((Path(str(toys.__file__)),)))

    return execute_here


@pytest.fixture
def key_of(toys: ModuleType, source: DataSource) -> Callable[[str], str]:
    """Return a function from a strategy to the key of its cell."""
    registry = open_registry(PluginSpec((Path(str(toys.__file__)),)))
    return lambda strategy: make_plan(replace(USUAL, strategies=(strategy,)), registry, source).cells[0].key


def by_name(records: list[Record]) -> dict[str, Record]:
    return {record.strategy["name"]: record for record in records}


def killed(folder: Path, key: str, times: int = 1) -> None:
    """Leave the marks of attempts that ended in a kill."""
    for _ in range(times):
        Attempts(folder).begin(key)


# --- marks ----------------------------------------------------------------------------------------------------------


def test_marks_count_until_the_cell_ends(tmp_path: Path) -> None:
    assert Attempts(tmp_path).lost() == {}
    killed(tmp_path, "aa", 3)
    killed(tmp_path, "bb")
    assert Attempts(tmp_path).lost() == {"aa": 3, "bb": 1}
    Attempts(tmp_path).end("aa")
    assert Attempts(tmp_path).lost() == {"bb": 1}
    Attempts(tmp_path).end("bb")
    assert list(tmp_path.iterdir()) == []


def test_taking_back_leaves_the_marks_of_earlier_attempts(tmp_path: Path) -> None:
    killed(tmp_path, "aa")
    now = Attempts(tmp_path)
    now.begin("aa")
    now.begin("bb")
    now.take_back()
    assert Attempts(tmp_path).lost() == {"aa": 1}


def test_marks_where_none_can_be_are_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "attempts").write_text("a file")
    for attempt in (lambda: Attempts(tmp_path).begin("aa"), Attempts(tmp_path).lost):
        with pytest.raises(UserError, match=r"results folder .* cannot be written to \(.*\): free some space"):
            attempt()


# --- runs -----------------------------------------------------------------------------------------------------------


def test_finished_run_leaves_no_mark(run: Callable[..., Ran]) -> None:
    ran = run()
    assert {name: (record.status, record.attempts) for name, record in by_name(ran.records).items()} == {
        "stumble": ("failed", 1), "floor": ("ok", 1)}
    assert not (ran.folder / "attempts").exists()


def test_cell_that_was_killed_once_is_tried_again(
    run: Callable[..., Ran], key_of: Callable[[str], str], tmp_path: Path
) -> None:
    killed(tmp_path / "out", key_of("floor"))
    ran = run()
    assert (by_name(ran.records)["floor"].status, by_name(ran.records)["floor"].attempts) == ("ok", 2)
    assert not (ran.folder / "attempts").exists()


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_cell_that_was_killed_twice_fails_and_the_rest_runs(
    workers: int, run: Callable[..., Ran], key_of: Callable[[str], str], tmp_path: Path
) -> None:
    """The strategy would kill this process (or its worker) if it were started."""
    killed(tmp_path / "out", key_of("stumble(way=die)"), 2)
    ran = run("stumble(way=die)", "floor", workers=workers)
    records = by_name(ran.records)
    assert {name: record.status for name, record in records.items()} == {"stumble(way=die)": "failed", "floor": "ok"}
    dead = records["stumble(way=die)"]
    assert dead.attempts == 2
    assert dead.reason == attempts.reason(2)
    assert "died 2 times during this cell (killed, or out of memory)" in str(dead.reason)
    assert "--retry-failed" in str(dead.reason)
    assert not (ran.folder / "attempts").exists()
    assert run("stumble(way=die)", "floor").records == []


def test_retry_failed_starts_a_cell_that_was_given_up(
    run: Callable[..., Ran], key_of: Callable[[str], str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    killed(tmp_path / "out", key_of("stumble(way=die)"), 2)
    run("stumble(way=die)")
    monkeypatch.setenv("TOY_MENDED", str(tmp_path))
    (record,) = run("stumble(way=die)", retry_failed=True).records
    assert (record.status, record.attempts) == ("ok", 1)


def test_unsupported_cell_is_never_attempted(run: Callable[..., Ran], toys: ModuleType, source: DataSource,
                                             zoo: Callable[..., Path], tmp_path: Path) -> None:
    request = Request(("toy-copy",), ("finetune",), (str(zoo("encoder")),), replicates=1, precision="fp32")
    ran = execute(request, Options(tmp_path / "out"), source, PluginSpec((Path(str(toys.__file__)),)))
    assert [(record.status, record.attempts) for record in ran.records] == [("unsupported", 0)]


@pytest.fixture
def usual_signals() -> Iterator[None]:
    """Answer signals as a process that nobody started in the background or under nohup does."""
    usual = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL, signal.SIGHUP: signal.SIG_DFL}
    before = {number: signal.signal(number, action) for number, action in usual.items()}
    yield
    for number, action in before.items():
        signal.signal(number, action)


@pytest.mark.usefixtures("usual_signals")
@pytest.mark.parametrize(("way", "end"), [("interrupt", KeyboardInterrupt), ("terminate", SystemExit),
                                          ("hang-up", SystemExit)])
def test_end_on_purpose_is_not_held_against_the_cell(
    way: str, end: type[BaseException], run: Callable[..., Ran], key_of: Callable[[str], str], tmp_path: Path
) -> None:
    strategy = f"stumble(way={way})"
    killed(tmp_path / "out", key_of(strategy))
    for _ in range(3):
        with pytest.raises(end):
            run(strategy)
        assert Attempts(tmp_path / "out").lost() == {key_of(strategy): 1}
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


class Stopper(Silent):
    """A reporter that ends the run when the first record is written."""

    def finished(self, record: Record) -> None:
        raise KeyboardInterrupt


@pytest.mark.slow
def test_end_on_purpose_takes_back_the_marks_of_all_workers(toys: ModuleType, source: DataSource, tmp_path: Path
                                                            ) -> None:
    request = replace(USUAL, strategies=("floor", "slow(seconds=60)"))
    with pytest.raises(KeyboardInterrupt):
        execute(request, Options(tmp_path, workers=2), source, PluginSpec((Path(str(toys.__file__)),)), Stopper())
    assert len(Store(tmp_path).names()) == 1
    assert not (tmp_path / "attempts").exists()


def test_mark_stays_until_the_record_is_written(
    run: Callable[..., Ran], key_of: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, write = [], Store.write

    def watched(store: Store, outcome: Outcome) -> Record:
        seen.append(Attempts(store.folder).lost())
        return write(store, outcome)

    monkeypatch.setattr(Store, "write", watched)
    run("floor")
    assert seen == [{key_of("floor"): 1}]


def test_plan_of_killed_cells_counts_them_as_open(
    key_of: Callable[[str], str], toys: ModuleType, source: DataSource, tmp_path: Path
) -> None:
    killed(tmp_path, key_of("floor"), 2)
    registry = open_registry(PluginSpec((Path(str(toys.__file__)),)))
    work = todo(make_plan(USUAL, registry, source), Store(tmp_path))
    assert (len(work.cells), work.done, work.lost) == (2, 0, {key_of("floor"): 2})


def test_signals_that_are_handled_already_are_left_alone() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        with unwinding():
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
            assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
        with unwinding(wanted=False):
            assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.slow
def test_killing_cell_ends_two_runs_and_the_third_goes_on(
    toys: ModuleType, source: DataSource, tmp_path: Path
) -> None:
    call = [
        sys.executable, "-m", "tlbench", "run", "--plugin", str(toys.__file__), "--tasks", "toy-topic",
        "--strategies", "stumble(way=die),floor", "--replicates", "1", "--offline", "--out", str(tmp_path / "out"),
    ]
    environment = {**os.environ, "TLBENCH_CACHE": str(source.cache), "OMP_NUM_THREADS": "1"}

    def again() -> subprocess.CompletedProcess[str]:
        return subprocess.run(call, env=environment, capture_output=True, text=True, check=False)

    assert [again().returncode for _ in range(2)] == [-signal.SIGKILL] * 2
    assert Store(tmp_path / "out").names() == []
    last = again()
    assert last.returncode == 1, last.stderr
    assert "the process died 2 times during this cell" in last.stderr
    status = {name: record.status for name, record in by_name(Store(tmp_path / "out").load()).items()}
    assert status == {"stumble(way=die)": "failed", "floor": "ok"}
    assert "0 cells run, 2 reused" in again().stderr
