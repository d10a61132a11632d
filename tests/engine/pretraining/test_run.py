"""A resumed run has the bits of one that was never stopped; schedules, optimizers and checkpoints do what they say."""

from __future__ import annotations

import itertools
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from tlbench.engine.optimizer import RmsAdamW
from tlbench.engine.pretraining import result, training
from tlbench.engine.pretraining import run as run_module
from tlbench.engine.pretraining.objectives import Student
from tlbench.engine.pretraining.run import Run, build_optimizer, schedule
from tlbench.engine.pretraining.training import pretrain
from tlbench.errors import UserError
from tlbench.setups import Pretraining

FAMILIES = ["encoder", "decoder", "encoder-decoder"]


def weights(run: Run) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in run.student.model.state_dict().items()}


def assert_equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())


@pytest.mark.parametrize("family", FAMILIES)
def test_killed_and_resumed_run_has_the_same_bits(
    family: str, pretraining_toys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = pretraining_toys.job(family)
    whole = pretrain(job, pretraining_toys.bench("whole")).run
    assert whole.step == 6
    stopped = pretraining_toys.bench("stopped", every=0.0)
    advance = Run.advance

    def killed_at_four(run: Run) -> float:
        if run.step == 4:
            raise KeyboardInterrupt
        return advance(run)

    with monkeypatch.context() as patch:
        patch.setattr(Run, "advance", killed_at_four)
        with pytest.raises(KeyboardInterrupt):
            pretrain(job, stopped)
    said: list[str] = []
    resumed = pretrain(job, replace(stopped, say=said.append)).run
    assert "from step 4" in said[0]
    assert_equal(weights(resumed), weights(whole))
    assert [{**point, "seconds": 0} for point in resumed.curve] == [{**point, "seconds": 0} for point in whole.curve]
    for one, other in zip(resumed.optimizer.state.values(), whole.optimizer.state.values(), strict=True):
        assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("family", FAMILIES)
def test_training_learns(family: str, pretraining_toys: Any) -> None:
    run = pretrain(pretraining_toys.job(family, tokens=30 * 4 * 48, step_size=5e-3), pretraining_toys.bench()).run
    assert run.curve[-1]["held_out"] < run.curve[0]["held_out"] - 0.1
    assert run.tokens == 30 * 4 * 48
    assert run.progress == 1.0


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # torch.compile's own imports
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_compiled_steps_are_the_plain_ones_up_to_rounding(
    pretraining_toys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = pretraining_toys.job("encoder-decoder")
    plain = pretrain(job, pretraining_toys.bench("plain")).run
    fused = pretrain(replace(job, compiled=True), pretraining_toys.bench("fused")).run
    assert fused.wrapped is not fused.student
    assert [point["loss"] for point in fused.curve] == pytest.approx([point["loss"] for point in plain.curve], rel=1e-3)
    for name, tensor in weights(plain).items():
        assert torch.allclose(weights(fused)[name], tensor, rtol=1e-2, atol=1e-4), name
    stopped = pretraining_toys.bench("stopped", every=0.0)
    assert stopped.work(job) != stopped.work(replace(job, compiled=True)), "another rounding is another checkpoint"
    advance = Run.advance

    def until_third(run: Run) -> float:
        if run.step == 3:
            raise KeyboardInterrupt
        return advance(run)

    with monkeypatch.context() as patch:
        patch.setattr(Run, "advance", until_third)
        with pytest.raises(KeyboardInterrupt):
            pretrain(replace(job, compiled=True), stopped)
    assert_equal(weights(pretrain(replace(job, compiled=True), stopped).run), weights(fused))


@pytest.mark.parametrize("family", FAMILIES)
def test_batch_that_does_not_fit_is_taken_in_parts(
    family: str, pretraining_toys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = pretraining_toys.job(family)
    whole = pretrain(job, pretraining_toys.bench("whole")).run
    forward = Student.forward

    def small(student: Student, batch: Any) -> torch.Tensor:
        if torch.is_grad_enabled() and len(batch["targets"]) > 2:
            raise torch.OutOfMemoryError("full")
        return forward(student, batch)

    monkeypatch.setattr(Student, "forward", small)
    parted = pretrain(job, pretraining_toys.bench("parted")).run
    assert (whole.parts, parted.parts) == (1, job.recipe.batch // 2)
    losses = [[point["loss"] for point in run.curve] for run in (parted, whole)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
    for name, tensor in weights(whole).items():
        assert torch.allclose(weights(parted)[name], tensor, rtol=1e-2, atol=1e-4), name

    def never(student: Student, batch: Any) -> torch.Tensor:
        raise torch.OutOfMemoryError("full")

    monkeypatch.setattr(Student, "forward", never)
    with pytest.raises(torch.OutOfMemoryError):
        pretrain(job, pretraining_toys.bench("never"))


def test_seed_changes_weights_and_order(pretraining_toys: Any) -> None:
    one, other = (pretrain(pretraining_toys.job("decoder", seed=seed), pretraining_toys.bench()).run for seed in (0, 1))
    assert not torch.equal(next(iter(weights(one).values())), next(iter(weights(other).values())))


def test_checkpoint_of_another_recipe_or_a_damaged_one_is_refused(pretraining_toys: Any, tmp_path: Path) -> None:
    trained = pretrain(pretraining_toys.job("decoder"), pretraining_toys.bench())
    path = tmp_path / "checkpoint.pt"
    trained.run.save(path)
    trained.run.identity = "another"
    with pytest.raises(UserError, match="another recipe"):
        trained.run.load(path)
    whole = path.read_bytes()
    torch.save({"step": 3}, tmp_path / "other.pt")
    for damaged in (whole[:1000], b"", b"hello there", bytes(100), (tmp_path / "other.pt").read_bytes()):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match="cannot be read"):
            trained.run.load(path)


def test_checkpoint_on_a_full_disk_is_one_sentence(pretraining_toys: Any, tmp_path: Path) -> None:
    run = pretrain(pretraining_toys.job("decoder"), pretraining_toys.bench()).run
    with pytest.raises(UserError, match="cannot be written"):
        run.save(tmp_path / "absent" / "checkpoint.pt")


def test_time_budget_ends_the_schedule(pretraining_toys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    # Each reading of this clock is an eighth of a second after the one before, and so long takes a step.
    ticks = itertools.count(0.0, 0.125)
    monkeypatch.setattr(run_module, "time", SimpleNamespace(perf_counter=lambda: next(ticks)))
    job = pretraining_toys.job("decoder", tokens=10**9, minutes=1.0 / 60)
    run = pretrain(job, pretraining_toys.bench()).run
    assert run.step == 8
    assert run.seconds == 1.0
    assert run.progress == 1.0
    assert run.tokens < 10**9


def test_schedule_rises_then_falls_to_zero() -> None:
    recipe = Pretraining()
    values = [schedule(recipe, share / 1000) for share in range(1001)]
    assert max(values) == pytest.approx(recipe.step_size)
    assert values[-1] == pytest.approx(0.0)
    assert np.argmax(values) == pytest.approx(1000 * recipe.warmup, abs=1)


def test_optimizer_is_the_recipes() -> None:
    module = torch.nn.Linear(4, 4)
    torch.nn.init.constant_(module.weight, 0.5)
    torch.nn.init.zeros_(module.bias)
    recipe = Pretraining(weight_decay=0.1, betas=(0.8, 0.95))
    optimizer = build_optimizer(module, recipe)
    assert isinstance(optimizer, RmsAdamW)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.1, 0.0]
    assert optimizer.param_groups[0]["betas"] == (0.8, 0.95)
    plain = build_optimizer(module, replace(recipe, optimizer="adamw"))
    assert type(plain) is torch.optim.AdamW
    assert [group["weight_decay"] for group in plain.param_groups] == [0.1, 0.0]


def test_diverged_loss_stops_the_run(pretraining_toys: Any) -> None:
    with pytest.raises(UserError, match=r"training loss is nan at step .*smaller --step-size"):
        pretrain(pretraining_toys.job("decoder", step_size=1e30, clip=1e30), pretraining_toys.bench())


@pytest.mark.parametrize(("given", "expected"), [
    ({"tokens": 100}, "budget of 100 tokens is less than one step of 4 x 48"),
    ({"minutes": 0.0}, "--minutes is 0"),
    ({"noise": 1.0}, "the recipe is impossible"),
    ({"batch": 0}, "batches of 0 sequences"),
    ({"length": 8}, "batches of 4 sequences of 8 tokens"),
])
def test_impossible_recipes_are_refused(given: dict[str, Any], expected: str, pretraining_toys: Any) -> None:
    job = pretraining_toys.job("encoder-decoder", **given)
    with pytest.raises(UserError, match=expected):
        training.check(job.recipe, job.start, 1)
    with pytest.raises(UserError, match="cannot be shared by 5 processes"):
        training.check(pretraining_toys.recipe("decoder"), pretraining_toys.job("decoder").start, 5)


def test_several_ranks_do_not_wait_for_another_process(pretraining_toys: Any) -> None:
    said: list[str] = []
    bench = replace(pretraining_toys.bench(), say=said.append)
    result._waiting(bench)
    assert said == ["another process makes this very model: waiting for it"]
    bench = replace(bench, place=SimpleNamespace(world=2))
    with pytest.raises(UserError, match="wait until it has ended"):
        result._waiting(bench)
