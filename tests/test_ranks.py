"""Two ranks do what one does: identical predictions, like losses, every example scored once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from tlbench import registry as plugins
from tlbench.api import Options, execute
from tlbench.attempts import Attempts
from tlbench.planning import Request
from tlbench.records import Store
from tlbench.sources import DataSource
from tlbench.workshop import PluginSpec

SCRIPT = Path(__file__).with_name("rank_script.py")
TWO = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--local-addr", "127.0.0.1",
       "--nproc_per_node", "2"]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(torch.cuda.is_available(), reason="two ranks on a CPU"),
]


def launched(call: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a command to its end and return what it printed."""
    done = subprocess.run(call, env=environment, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done


@pytest.fixture
def environment(source: DataSource) -> dict[str, str]:
    """Return an environment with a cache of its own and one thread a rank."""
    return {**os.environ, "TLBENCH_CACHE": str(source.cache), "OMP_NUM_THREADS": "1"}


def test_two_ranks_predict_and_train_as_one(
    toys: ModuleType, zoo: Callable[..., Path], environment: dict[str, str], tmp_path: Path
) -> None:
    given = [str(toys.__file__), str(zoo("encoder", **toys.without_dropout("encoder")))]
    (tmp_path / "two").mkdir()
    done = launched([*TWO, str(SCRIPT), *given, str(tmp_path / "two")], environment)
    assert "destroy_process_group" not in done.stderr
    plugins.import_file(SCRIPT).main(*given, str(tmp_path))
    one, first, second = (
        json.loads((tmp_path / name).read_text()) for name in ("rank0.json", "two/rank0.json", "two/rank1.json")
    )
    assert (one.pop("world"), first["world"], second["world"]) == (1, 2, 2)
    assert first == second
    for name, value in one.items():
        if name.startswith("curve"):
            assert_like(value, first[name])
        else:
            assert value == first[name], name
    assert len({tuple(tags) for tags in one["predictions 301"].values()}) > 50


def assert_like(one: list[dict[str, Any]], two: list[dict[str, Any]]) -> None:
    """Assert that two curves have the same points and losses within 1e-4."""
    assert len(one) == len(two) > 1
    for a, b in zip(one, two, strict=True):
        assert a == pytest.approx(b, abs=1e-4)


def short_of_memory(
    way: str, toys: ModuleType, zoo: Callable[..., Path], environment: dict[str, str], out: Path
) -> subprocess.CompletedProcess[str]:
    """Run two cells on two ranks, one of which is short of memory in a way of `memory_script.py`."""
    arguments = [
        "run", "--plugin", str(toys.__file__), "--tasks", "toy-topic", "--models", str(zoo("encoder")),
        "--strategies", "finetune+short,feature-extraction+short", "--replicates", "1", "--precision", "fp32",
        "--offline", "--out", str(out),
    ]
    script = str(Path(__file__).with_name("memory_script.py"))
    return subprocess.run([*TWO, script, way, str(out), *arguments], env=environment, capture_output=True, text=True,
                          timeout=900, check=False)


def test_memory_that_one_rank_lacks_halves_the_micro_batch_of_both(
    toys: ModuleType, zoo: Callable[..., Path], environment: dict[str, str], tmp_path: Path
) -> None:
    done = short_of_memory("training", toys, zoo, environment, tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    tried = [json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in (0, 1)]
    assert tried == [[4, 2, 4, 2]] * 2  # two ranks share a batch of 8
    records = Store(tmp_path).load()
    assert all(record.evaluation for record in records)
    assert [record.training["micro_batch"] for record in records] == [2, 2]
    assert not (tmp_path / "attempts").exists()


def test_memory_that_one_rank_lacks_to_predict_fails_the_cell_on_both(
    toys: ModuleType, zoo: Callable[..., Path], environment: dict[str, str], tmp_path: Path
) -> None:
    done = short_of_memory("predicting", toys, zoo, environment, tmp_path)
    assert "2 cells run, 0 reused" in done.stderr, done.stderr[-3000:]
    tried = [json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in (0, 1)]
    assert tried == [[4, 2, 1, 4]] * 2
    by_name = {record.strategy["name"]: record for record in Store(tmp_path).load()}
    assert by_name["feature-extraction+short"].evaluation
    assert by_name["finetune+short"].status == "failed"
    assert str(by_name["finetune+short"].reason).startswith("rank 0 of 2: OutOfMemoryError: full")


def test_memory_that_one_rank_lacks_inside_a_step_ends_the_run_and_is_counted(
    toys: ModuleType, zoo: Callable[..., Path], environment: dict[str, str], tmp_path: Path
) -> None:
    done = short_of_memory("step", toys, zoo, environment, tmp_path)
    assert done.returncode != 0
    assert "rank 1 of 2 fell out of step with the others (OutOfMemoryError: full" in done.stderr
    assert Store(tmp_path).names() == []
    assert list(Attempts(tmp_path).lost().values()) == [1]


STRATEGIES = ("floor", "finetune+short", "feature-extraction+short", "hybrid-text(tokens=2000)+short")


def test_command_line_on_two_ranks(
    toys: ModuleType, zoo: Callable[..., Path], source: DataSource, environment: dict[str, str], tmp_path: Path
) -> None:
    model, strategies = zoo("encoder", **toys.without_dropout("encoder")), STRATEGIES
    call = [
        *TWO, "-m", "tlbench", "run", "--plugin", str(toys.__file__), "--tasks", "toy-topic", "--models", str(model),
        "--strategies", ",".join(strategies), "--replicates", "1", "--precision", "fp32", "--offline",
        "--out", str(tmp_path / "two"),
    ]
    done = launched(call, environment)
    assert "destroy_process_group" not in done.stderr
    assert "4 cells run, 0 reused" in done.stderr
    request = Request(("toy-topic",), strategies, (str(model),), replicates=1, precision="fp32")
    torch.set_num_threads(1)
    execute(request, Options(tmp_path / "one"), source, PluginSpec((Path(str(toys.__file__)),)))
    store = Store(tmp_path / "two")
    one = {record.strategy["name"]: record for record in Store(tmp_path / "one").load()}
    two = {record.strategy["name"]: record for record in store.load()}
    assert one.keys() == two.keys()
    for name, record in two.items():
        table = store.predictions(record)
        assert table["example_id"].is_unique
        assert len(table) == toys.TEST
        if name == "floor":
            continue
        assert (one[name].numerics["world"], record.numerics["world"]) == (1, 2)
        assert record.key == one[name].key
        assert record.pairing != one[name].pairing
        assert_like(one[name].training["curve"], record.training["curve"])
    assert "0 cells run, 4 reused" in launched(call, environment).stderr
