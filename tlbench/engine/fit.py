"""The one training loop. No strategy owns it; a Phase says what it does."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from tlbench.engine import optimizer
from tlbench.engine.dropout import MASKS
from tlbench.engine.encoding import Encoded, evaluation_batches, training_batches
from tlbench.engine.forms import Batch
from tlbench.engine.layers import layer_groups
from tlbench.engine.machine import Machine
from tlbench.engine.mixing import Mixer
from tlbench.engine.place import Place
from tlbench.engine.precision import Precision, autocast
from tlbench.engine.rehearsal import rehearse
from tlbench.setups import Phase, Plateau, Recipe

_EVALUATIONS = 5
"""Validation losses taken over the length of fine-tuning; a plateau stop takes them at the same distance."""


@dataclass(frozen=True)
class Side:
    """A further stream that a job learns from.

    Attributes:
        module: Returns the summed loss of a batch; the job's trunk is in it.
        train: Encoded examples, or rows of text.
        weight: By how much the summed loss of some rows is divided.
        head: Fresh weights, which move at the head's rate.
        rest: Further weights of the pre-trained model, which move at the trunk's rate.
    """

    module: nn.Module
    train: Encoded
    weight: Callable[[Encoded, Sequence[int]], float]
    head: nn.Module | None = None
    rest: tuple[nn.Parameter, ...] = ()

    @classmethod
    def of(cls, machine: Machine, train: Encoded) -> Side:
        """Return the stream of another task: a machine of its own kind and head on the job's trunk."""
        return cls(machine, train, machine.form.weight, machine.head)


@dataclass(frozen=True)
class Turn:
    """One batch of one stream in a step.

    Attributes:
        stream: 0 is the target, then the sides in order.
        rows: Rows of its encoded examples.
        share: Factor on its mean loss.
    """

    stream: int
    rows: list[int]
    share: float


class Joint(nn.Module):
    """The modules of all streams as one, so that ranks exchange one set of gradients."""

    def __init__(self, machines: Sequence[nn.Module]) -> None:
        """Hold the modules, the target's first; they share a trunk."""
        super().__init__()
        self.machines = nn.ModuleList(machines)

    def train(self, mode: bool = True) -> Joint:
        """Switch dropout on in the trunk as the target has it, whatever the streams beside it need."""
        super().train(mode)
        self.machines[0].train(mode)
        return self

    def forward(self, stream: int, batch: Batch) -> torch.Tensor:
        """Return the summed loss of a batch of one stream, a float32 scalar."""
        loss: torch.Tensor = self.machines[stream](batch)
        return loss


@dataclass(frozen=True)
class Job:
    """All that training needs beside the machine.

    Attributes:
        train: Encoded training examples.
        validation: Encoded validation examples; may hold none.
        phase: What is trained, how, and until when.
        select_last: Take the last step instead of the best on validation (budgets of 100 and below).
        seeds: Seeds of the streams `order` and `dropout`.
        precision: Numeric precision.
        micro_batch: Examples that fit into memory at once, on each rank.
        score: Turns the raw output of each validation row into the primary metric; `None` selects by loss alone.
        progress: Called with the share of the work done, 0..1.
        counted: Rows by which the steps are planned, where altered copies must not add steps; `None` counts all.
        sides: The further streams of the phase's mixture, in order.
    """

    train: Encoded
    validation: Encoded
    phase: Phase
    select_last: bool
    seeds: dict[str, int]
    precision: Precision
    micro_batch: int
    score: Callable[[Sequence[Any]], float] | None = None
    progress: Callable[[float], None] = lambda share: None
    counted: int | None = None
    sides: tuple[Side, ...] = ()


@dataclass
class Fitted:
    """What training reports; becomes the record's `training` group.

    `tokens_beside` holds the tokens of each further stream, phase by phase; they are among `tokens_seen`.
    """

    steps: int = 0
    best_step: int = 0
    stop_reason: str = "steps"
    examples_seen: int = 0
    tokens_seen: int = 0
    tokens_beside: list[int] = field(default_factory=list)
    seconds: float = 0.0
    curve: list[dict[str, float]] = field(default_factory=list)


def planned_steps(recipe: Recipe, examples: int) -> int:
    """Return the steps of an ordinary fine-tuning: its epochs, at least `min_steps`."""
    return max(recipe.min_steps, math.ceil(recipe.epochs * math.ceil(examples / recipe.batch_size)))


def fit(machine: Machine, job: Job, place: Place) -> Fitted:
    """Train a machine in place and leave it with the selected weights, in eval mode.

    Returns:
        Steps, curve, stop reason and what was seen. Training on 1 or N ranks takes the same batches; the loss of
        a step is divided by the whole batch's weight, so N ranks compute the same gradient.

    Raises:
        AgreedMemoryError: among several ranks, the micro-batch does not fit into the memory of one; all ranks raise it.
    """
    return _Training(machine, job, place).run()


class _Watch:
    """Notices when neither loss nor score has improved for a plateau's patience."""

    def __init__(self, plateau: Plateau | None) -> None:
        self.plateau = plateau
        self.loss, self.score, self.waiting = math.inf, -math.inf, 0

    def stalled(self, loss: float, score: float, patient: bool) -> bool:
        """Take one evaluation; `patient` ones are looked at but never counted."""
        if self.plateau is None:
            return False
        # The references move only with an improvement that counts, so that slow progress adds up.
        better_loss = loss < self.loss * (1 - self.plateau.tolerance)
        better_score = score > self.score
        if better_loss:
            self.loss = loss
        if better_score:
            self.score = score
        self.waiting = 0 if better_loss or better_score or patient else self.waiting + 1
        return self.waiting >= self.plateau.patience


class _Training:
    """One run of the loop: its state is what the steps share."""

    def __init__(self, machine: Machine, job: Job, place: Place) -> None:
        recipe = job.phase.recipe
        self.machine, self.job, self.place, self.recipe = machine, job, place, recipe
        self.machines: list[nn.Module] = [machine, *(side.module for side in job.sides)]
        self.trains = [job.train, *(side.train for side in job.sides)]
        self.weights = [machine.form.weight, *(side.weight for side in job.sides)]
        self.wrapped = place.wrap(Joint(self.machines) if job.sides else machine)
        heads = nn.ModuleList(h for h in (machine.head, *(side.head for side in job.sides)) if h is not None)
        rest = [p for side in job.sides for p in side.rest]
        self.optimizer = optimizer.build(machine.trunk, heads, recipe, rest)
        self.rates = [group["lr"] for group in self.optimizer.param_groups]
        self.moving = [p for p in self.wrapped.parameters() if p.requires_grad]
        alone = job.counted or len(job.train)
        self.mixer = Mixer(job.phase.mixture, [alone, *(len(s.train) for s in job.sides)], job.seeds["order"])
        self.usual = math.ceil(planned_steps(recipe, alone) * self.mixer.longer)
        self.plateau = job.phase.stop if isinstance(job.phase.stop, Plateau) else None
        self.total = math.ceil(self.usual * self.plateau.cap) if self.plateau else self.usual
        self.cooling = math.ceil(self.usual * self.plateau.cooldown) if self.plateau else 0
        self.every = max(1, self.usual // _EVALUATIONS)
        self.fitted = Fitted(stop_reason="cap" if self.plateau else "steps", tokens_beside=[0] * len(job.sides))
        self.best: tuple[float, float] | None = None
        self.best_weights: list[torch.Tensor] = []
        self.watch = _Watch(self.plateau)

    def run(self) -> Fitted:
        self._rehearse()  # before the streams are seeded, since it draws from them, and with nothing frozen yet
        self.thaw = _Thaw(self.machine, self.job.phase.unfreeze * self.usual)
        self.wrapped.train()
        start = time.perf_counter()
        MASKS.seed(self.job.seeds["dropout"] + self.place.rank)
        torch.manual_seed(self.job.seeds["dropout"] + self.place.rank)
        batches = [self._batches(stream) for stream in range(len(self.machines))]
        recent: list[torch.Tensor] = []
        step = 0
        while step < self.total:
            step += 1
            turns = [Turn(i, next(batches[i]), share) for i, share in self.mixer.turns(step, self.usual)]
            loss = self._step(step, turns)
            recent += [] if loss is None else [loss]
            if (step % self.every == 0 or step == self.total) and not self._evaluate(step, recent):
                break
        self._restore()
        self.fitted.seconds = time.perf_counter() - start
        return self.fitted

    def _rehearse(self) -> None:
        """Among several ranks, make sure that the micro-batch fits into the memory of each, for every stream."""
        job, place = self.job, self.place
        if place.world == 1:
            return
        size = min(job.micro_batch, math.ceil(self.recipe.batch_size / place.world))
        for machine, train in zip(self.machines, self.trains, strict=True):
            place.in_step(partial(rehearse, machine, train, size, job.precision, place.device))

    def _batches(self, stream: int) -> Iterator[list[int]]:
        generator = np.random.default_rng(self.job.seeds["order"] + stream)
        return training_batches(
            self.trains[stream].tokens.lengths, self.recipe.batch_size, self.recipe.length_window, generator
        )

    def _step(self, step: int, turns: Sequence[Turn]) -> torch.Tensor | None:
        """Take one optimizer step and return this rank's share of the target's mean loss, if it had a turn."""
        if not all(machine.training for machine in self.machines):  # back from an evaluation
            self.wrapped.train()
        self.thaw.advance(step)
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * self._schedule(step)
        losses = {turn.stream: self._backward(turn, last=turn is turns[-1]) for turn in turns}
        nn.utils.clip_grad_norm_(self.moving, self.recipe.clip)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.fitted.steps = step
        self.job.progress(step / self.total)
        return losses.get(0)

    def _backward(self, turn: Turn, last: bool) -> torch.Tensor:
        """Add the gradient of one batch and return this rank's share of its mean loss."""
        job, place, train = self.job, self.place, self.trains[turn.stream]
        weight = self.weights[turn.stream](train, turn.rows)
        mine = turn.rows[place.rank :: place.world]
        spare = not mine  # a rank without a row of a short batch must still take part in the collective
        parts = [mine[i : i + job.micro_batch] for i in range(0, len(mine), job.micro_batch)] or [turn.rows[:1]]
        total = torch.zeros((), device=place.device)
        for number, part in enumerate(parts, start=1):
            with self._synchronised(last and number == len(parts)):
                with autocast(job.precision, place.device):
                    loss = self._loss(turn.stream, train.batch(part, place.device)) * (0.0 if spare else 1.0)
                place.accelerator.backward(loss * (place.world / weight * turn.share))
            total += loss.detach()
        self.fitted.examples_seen += len(turn.rows)
        tokens = int(train.tokens.lengths[turn.rows].sum())
        self.fitted.tokens_seen += tokens
        if turn.stream:
            self.fitted.tokens_beside[turn.stream - 1] += tokens
        return total / weight

    def _loss(self, stream: int, batch: Batch) -> torch.Tensor:
        loss: torch.Tensor = self.wrapped(stream, batch) if self.job.sides else self.wrapped(batch)
        return loss

    def _synchronised(self, last: bool) -> Any:
        return contextlib.nullcontext() if last else self.place.accelerator.no_sync(self.wrapped)

    def _schedule(self, step: int) -> float:
        """Return the factor on the learning rate.

        A linear warm-up, then linear to 0; under a plateau stop constant first and linear to 0 over the last steps.
        """
        warm = max(1, round(self.usual * self.recipe.warmup))
        if step <= warm:
            return step / warm
        falling = self.cooling if self.plateau else self.total - warm
        return min(1.0, (self.total - step + 1) / (falling + 1))

    def _evaluate(self, step: int, recent: list[torch.Tensor]) -> bool:
        """Take the losses and the score, keep the best weights, and return whether training is sound."""
        if not recent:
            return True  # every batch since the last evaluation was another stream's
        train_loss = float(self.place.sum(torch.stack(recent)).mean())
        recent.clear()
        if not math.isfinite(train_loss):
            self.fitted.stop_reason = "diverged"
            return False
        point = {"step": step, "train_loss": train_loss}
        judge = self.job.score
        loss, rows = validate(self.machine, self.job.validation, self.job.precision, self.place, judge is not None)
        if loss is not None:
            point["validation_loss"] = loss
            if judge:
                point["validation_score"] = self.place.in_step(partial(judge, rows))
            self._keep(step, (point.get("validation_score", 0.0), -loss))
        self.fitted.curve.append(point)
        self._watch_plateau(step, train_loss, loss, point.get("validation_score", 0.0))
        return True

    def _keep(self, step: int, quality: tuple[float, float]) -> None:
        """Remember the weights if they are the best so far: by validation score, ties by validation loss."""
        if not self.job.select_last and (self.best is None or quality > self.best):
            self.best, self.fitted.best_step = quality, step
            self.best_weights = [p.detach().clone() for p in self.moving]

    def _watch_plateau(self, step: int, train_loss: float, loss: float | None, score: float) -> None:
        """Begin the fall of the rate when nothing improves any more; there must be room left for it."""
        watched = train_loss if self.job.select_last or loss is None else loss
        stalled = self.watch.stalled(watched, score, patient=step < self.usual)
        if stalled and self.fitted.stop_reason == "cap" and step + self.cooling < self.total:
            self.total = step + self.cooling
            self.fitted.stop_reason = "plateau"

    def _restore(self) -> None:
        """Leave the machine with the selected weights."""
        if self.fitted.best_step:
            with torch.no_grad():
                for p, best in zip(self.moving, self.best_weights, strict=True):
                    p.copy_(best)
        else:
            self.fitted.best_step = self.fitted.steps
        self.thaw.finish()
        self.machine.eval()


class _Thaw:
    """Lets the trunk's layer groups move one after the other, from the top (ULMFiT, arXiv:1801.06146).

    The head moves from the first step. What has not begun to move has no gradient, hence no optimizer state.
    """

    def __init__(self, machine: Machine, steps: float) -> None:
        named = dict(machine.trunk.named_parameters())
        groups = layer_groups(machine.trunk) if steps else []
        self.frozen = [[named[name] for name in group if named[name].requires_grad] for group in groups]
        self.every = steps / max(1, len(groups))
        self.released = 0
        for p in (p for group in self.frozen for p in group):
            p.requires_grad_(False)
        for _ in range(2 if self.frozen and machine.head is None else 0):
            self._release()  # without a head the last block and what lies behind it move first

    def advance(self, step: int) -> None:
        """Release the groups whose turn has come by a step, counted from 1; a head alone moves first."""
        while self.frozen and (self.released + 1) * self.every < step:
            self._release()

    def finish(self) -> None:
        """Release what is left."""
        while self.frozen:
            self._release()

    def _release(self) -> None:
        self.released += 1
        for p in self.frozen.pop():
            p.requires_grad_(True)


@torch.no_grad()
def validate(
    machine: Machine, encoded: Encoded, precision: Precision, place: Place, with_rows: bool
) -> tuple[float | None, list[Any]]:
    """Return the mean loss over encoded examples and, if asked, the raw output of each row, from one forward pass.

    Both are the same on 1 and on N ranks.

    Args:
        machine: What is validated; left in eval mode.
        encoded: Encoded examples; may hold none.
        precision: Numeric precision.
        place: Device and ranks.
        with_rows: Whether raw outputs are wanted.

    Returns:
        Mean loss (`None` without examples), and one NumPy array per row in order (or nothing).
    """
    if not encoded.examples:
        return None, []
    machine.eval()
    plan = evaluation_batches(encoded.tokens.lengths, rows=machine.form.rows_at_once(machine))
    losses: list[tuple[int, float]] = []
    rows: list[tuple[int, Any]] = []

    def mine() -> None:
        for index in range(place.rank, len(plan), place.world):
            batch = encoded.batch(plan[index], place.device)
            with autocast(precision, place.device):
                scores = machine.form.scores(machine, batch)
                losses.append((index, float(machine.form.loss(scores, batch))))
            if with_rows:
                rows.extend(zip(plan[index], machine.form.rows(scores, batch), strict=True))

    place.in_step(mine)
    total: float = sum(loss for _, loss in sorted(place.gather(losses)))
    by_row = dict(place.gather(rows)) if with_rows else {}
    return total / machine.form.weight(encoded, range(len(encoded))), [by_row[row] for row in sorted(by_row)]
