"""What one rank does when another one fails; a place that plays rank 0 of two stands for both."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from tlbench.cells import Shop, run_cell
from tlbench.engine import fit as fit_module
from tlbench.engine import trained
from tlbench.engine.encoding import Encoded
from tlbench.engine.fit import Job, fit
from tlbench.engine.machine import Machine
from tlbench.engine.place import AgreedMemoryError, Place, _Fault
from tlbench.engine.rehearsal import longest, rehearse
from tlbench.errors import RankLostError, UnsupportedError, UserError
from tlbench.grid import Cell
from tlbench.setups import Phase, Recipe, Setup

SEEDS = {"order": 4, "dropout": 5}
FULL = torch.OutOfMemoryError("full")


class FirstOfTwo(Place):
    """Rank 0 of two, where the other rank does the same and fails as it is told to.

    Attributes:
        others: What befalls the other rank, one entry for each piece of work; `None` is nothing.
    """

    def __init__(self, others: Sequence[Exception | None] = ()) -> None:
        super().__init__()
        self.world, self.others = 2, list(others)

    def wrap(self, machine: Any) -> Any:
        return machine

    def gather(self, items: Sequence[Any]) -> list[Any]:
        other = self.others.pop(0) if self.others else None
        return [*items, *([_Fault.of(raised(other), 1)] if other else [])]

    def sum(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor


def raised(error: Exception) -> Exception:
    """Return an error with the traceback that it has once it was raised."""
    try:
        raise error
    except Exception as caught:
        return caught


def fail(error: Exception) -> None:
    raise error


# --- agreeing -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("error", "kind", "text"), [
    (FULL, AgreedMemoryError, r"^rank 1 of 2: OutOfMemoryError: full \(test_ranks_in_step.py:\d+\)$"),
    (RuntimeError("DefaultCPUAllocator: can't allocate memory"), AgreedMemoryError, "rank 1 of 2: RuntimeError"),
    (UnsupportedError("no such thing"), UnsupportedError, "^rank 1 of 2: no such thing$"),
    (UserError("the folder is gone"), UserError, "^rank 1 of 2: the folder is gone$"),
    (ValueError("odd"), UserError, r"^rank 1 of 2: ValueError: odd \(test_ranks_in_step.py:\d+\)$"),
])
def test_failure_of_another_rank_is_raised_here_too(error: Exception, kind: type[Exception], text: str) -> None:
    place = FirstOfTwo([error])
    with pytest.raises(kind, match=text), place.together():
        place.in_step(lambda: "made")
    assert place.in_step(lambda: "made") == "made"


def test_failure_of_this_rank_names_it() -> None:
    place = FirstOfTwo()
    with pytest.raises(AgreedMemoryError, match=r"^rank 0 of 2: OutOfMemoryError: full"), place.together():
        place.in_step(lambda: fail(FULL))


def test_failure_of_all_ranks_reads_as_that_of_one() -> None:
    error = UserError("budget 5000 asks for more labels than there are")
    place = FirstOfTwo([error])
    with pytest.raises(UserError, match=r"^budget 5000"), place.together():
        place.in_step(lambda: fail(error))


def test_error_that_the_others_do_not_raise_ends_the_rank() -> None:
    place = FirstOfTwo()
    said = r"^rank 0 of 2 fell out of step with the others \(OutOfMemoryError: full"
    with pytest.raises(RankLostError, match=said), place.together():
        raise FULL


def test_process_alone_raises_the_error_itself(place: Place) -> None:
    with pytest.raises(torch.OutOfMemoryError) as caught, place.together():
        place.in_step(lambda: fail(FULL))
    assert caught.value is FULL


# --- cells ----------------------------------------------------------------------------------------------------------


@contextmanager
def noted(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Note the micro-batch of each training."""
    tried: list[int] = []

    def noting(machine: Machine, job: Job, place: Place) -> Any:
        tried.append(job.micro_batch)
        return fit(machine, job, place)

    with monkeypatch.context() as patch:
        patch.setattr(trained, "fit", noting)
        yield tried


def test_memory_that_is_short_on_another_rank_halves_the_micro_batch(
    cell_of: Callable[..., Cell], shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the pieces of work, data, machine and moving it are the first three; the fourth is the rehearsal."""
    cell = cell_of("text-classification", "encoder", "finetune+short")
    shop.place = FirstOfTwo([None, None, None, FULL])
    monkeypatch.setattr(trained, "predict", lambda *given: (_ for _ in ()).throw(ValueError("enough")))
    with noted(monkeypatch) as tried, pytest.raises(RankLostError, match="enough"):
        run_cell(cell, shop)
    assert tried == [4, 2]  # two ranks share a batch of 8


def test_memory_that_is_short_inside_a_step_ends_the_rank(
    cell_of: Callable[..., Cell], shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward, seen = Machine.forward, []

    def full(machine: Machine, batch: Any) -> torch.Tensor:
        seen.append(batch)
        return fail(FULL) if len(seen) > 1 else forward(machine, batch)  # type: ignore[return-value]

    shop.place = FirstOfTwo()
    monkeypatch.setattr(Machine, "forward", full)
    with noted(monkeypatch) as tried, pytest.raises(RankLostError, match="OutOfMemoryError: full"):
        run_cell(cell_of("text-classification", "encoder", "finetune+short"), shop)
    assert tried == [4]


# --- the rehearsal --------------------------------------------------------------------------------------------------


@pytest.fixture
def trainable(
    machine_of: Callable[..., Machine], toys: ModuleType, zoo: Callable[..., Path]
) -> Callable[[], tuple[Machine, Job]]:
    """Return a function that makes a tagger with dropout and what it is trained on."""

    def make() -> tuple[Machine, Job]:
        recipe = Recipe(learning_rate=1e-3, epochs=1e-6, min_steps=6, batch_size=8)
        machine = machine_of("token-classification", "encoder", Setup(phases=(Phase(recipe=recipe),)))
        train, held = toys.examples("toy-names", 24), toys.examples("toy-names", 8, "validation")
        job = Job(machine.form.encode(train), machine.form.encode(held), Phase(recipe=recipe), False, SEEDS, "fp32", 8)
        return machine, job

    return make


def test_rehearsal_changes_nothing_that_training_starts_from(
    trainable: Callable[[], tuple[Machine, Job]], monkeypatch: pytest.MonkeyPatch
) -> None:
    trained, rehearsed = [], []

    def watched(machine: Machine, encoded: Encoded, size: int, *given: Any) -> None:
        before = {name: value.clone() for name, value in machine.state_dict().items()}
        rehearse(machine, encoded, size, *given)
        rehearsed.append(size)
        assert all(torch.equal(value, before[name]) for name, value in machine.state_dict().items())
        assert all(p.grad is None for p in machine.parameters())

    for stand_in in (watched, lambda *given: None):
        machine, job = trainable()
        monkeypatch.setattr(fit_module, "rehearse", stand_in)
        fitted = fit(machine, job, FirstOfTwo())
        trained.append((fitted.curve, machine.state_dict()))
    assert rehearsed == [4]  # half of a batch of 8
    (curve, weights), (other_curve, other_weights) = trained
    assert curve == other_curve
    assert all(torch.equal(value, other_weights[name]) for name, value in weights.items())


def test_rehearsal_that_fails_leaves_no_gradient_and_restores_buffers(
    trainable: Callable[[], tuple[Machine, Job]], monkeypatch: pytest.MonkeyPatch
) -> None:
    machine, job = trainable()
    machine.register_buffer("passes", torch.zeros(()))

    def counted(self: Machine, batch: Any) -> torch.Tensor:
        self.passes += 1
        loss = self.form.loss(self.form.scores(self, batch), batch)
        loss.register_hook(lambda gradient: fail(FULL))
        return loss

    monkeypatch.setattr(Machine, "forward", counted)
    with pytest.raises(torch.OutOfMemoryError):
        rehearse(machine, job.train, 4, "fp32", torch.device("cpu"))
    assert machine.passes == 0
    assert all(p.grad is None for p in machine.parameters())


def test_process_alone_never_rehearses(
    trainable: Callable[[], tuple[Machine, Job]], place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fit_module, "rehearse", lambda *given: fail(AssertionError("it rehearsed")))
    machine, job = trainable()
    assert fit(machine, job, place).steps == 6


@pytest.mark.parametrize("size", [1, 5, 99])
def test_longest_rows_hold_the_longest_of_every_array(
    size: int, machine_of: Callable[..., Machine], toys: ModuleType
) -> None:
    encoded = machine_of("text-generation", "encoder-decoder").form.encode(toys.examples("toy-copy", 24))
    rows = longest(encoded, size)
    lengths = encoded.tokens.lengths
    assert len(rows) == len(set(rows)) == min(size, 24)
    assert max(lengths[rows]) == max(lengths)
    if size > 1:
        labels = encoded.ragged["labels"].lengths
        assert max(labels[rows]) == max(labels)
