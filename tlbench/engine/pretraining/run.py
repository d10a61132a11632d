"""A pre-training run: its state is a model, an optimizer and a few numbers, and lies in one file.

Data order and masks are functions of the seed and the step, and nothing else is drawn (dropout is 0), so that a
killed run goes on exactly from its checkpoint.
"""

from __future__ import annotations

import math
import os
import time
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from tlbench.engine.forms import IGNORED
from tlbench.engine.measure import contended
from tlbench.engine.optimizer import RmsAdamW
from tlbench.engine.place import Place, out_of_memory
from tlbench.engine.pretraining.objectives import Batch, Student
from tlbench.engine.pretraining.packing import Rows
from tlbench.errors import UserError
from tlbench.setups import Pretraining

EPSILON = 1e-6
_MASKS = 2


def schedule(recipe: Pretraining, progress: float) -> float:
    """Return the step size at a share of the budget: linear warm-up, then a cosine to 0."""
    if progress < recipe.warmup:
        return recipe.step_size * max(progress, 1e-3) / recipe.warmup
    rest = min(1.0, (progress - recipe.warmup) / (1 - recipe.warmup))
    return recipe.step_size * 0.5 * (1 + math.cos(math.pi * rest))


def build_optimizer(model: nn.Module, recipe: Pretraining) -> torch.optim.AdamW:
    """Return the recipe's optimizer, at rate 0; matrices decay, vectors do not."""
    moving = [p for p in model.parameters() if p.requires_grad]
    assert all(p.dtype == torch.float32 for p in moving), "trainable weights must be float32"
    decayed = [[p for p in moving if (p.ndim > 1) == matrices] for matrices in (True, False)]
    groups = [{"params": part, "weight_decay": decay} for part, decay in
              zip(decayed, (recipe.weight_decay, 0.0), strict=True) if part]
    kind = RmsAdamW if recipe.optimizer == "rms-adamw" else torch.optim.AdamW
    return kind(groups, lr=0.0, betas=recipe.betas, eps=EPSILON, weight_decay=0.0, fused=True)


class Run:
    """A run in progress.

    Attributes:
        step: Optimizer steps taken.
        seconds: Seconds spent in them, over all resumptions.
        curve: Points of the training and held-out loss.
        recent: Sum and number of the training losses since the last point.
        contended: Whether other work ran beside it when a point was taken, so that its time means little.
        parts: Into how many parts a batch is cut so that it fits into memory.
    """

    def __init__(
        self, recipe: Pretraining, stream: Rows, student: Student, place: Place, identity: str, compiled: bool = False
    ) -> None:
        """Put the student where the place is; `identity` names recipe, corpus and start in checkpoints.

        All batches of a run have one shape, so that a compiled step is compiled once.
        """
        self.recipe, self.stream, self.student, self.place, self.identity = recipe, stream, student, place, identity
        # torch.compile returns a module for a module; its annotation knows functions only.
        self.wrapped = place.wrap(cast(nn.Module, torch.compile(student, dynamic=False)) if compiled else student)
        self.optimizer = build_optimizer(student.model, recipe)
        self.step = 0
        self.seconds = 0.0
        self.curve: list[dict[str, float]] = []
        self.recent = [0.0, 0.0]
        self.contended = False
        self.parts = 1

    @property
    def tokens(self) -> int:
        """Corpus tokens seen."""
        return self.step * self.recipe.batch * self.recipe.length

    @property
    def progress(self) -> float:
        """Share of the budget that is spent: of the tokens, or of the time if that is more; equal on all ranks."""
        spent = self.tokens / self.recipe.tokens
        if self.recipe.minutes is None:
            return spent
        shared: float = self.place.from_first(max(spent, self.seconds / (60 * self.recipe.minutes)))
        return shared

    def batch(self, step: int) -> Batch:
        """Return the whole batch of a step, before ranks take their shares."""
        generator = np.random.default_rng([self.recipe.seed, _MASKS, step])
        return self.student.objective.batch(self.stream.batch(step), generator)

    def _share(self, batch: Batch) -> Batch:
        """Return this rank's rows of a batch, on its device."""
        return {name: part[self.place.rank :: self.place.world].to(self.place.device) for name, part in batch.items()}

    def warm_up(self) -> None:
        """Compile the step before the clock starts; weights and streams stay as they are.

        Raises:
            UserError: torch cannot compile here.
        """
        from torch._dynamo.exc import TorchDynamoException

        try:
            self.wrapped(self._share(self.batch(0))).sum().backward()
        except TorchDynamoException as error:
            reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
            raise UserError(f"--compile failed ({reason}): it needs a working C++ compiler; leave the flag "
                            "out") from error
        self.optimizer.zero_grad()

    def advance(self) -> float:
        """Take one optimizer step and return its mean loss per target token in nats.

        Every rank takes every `world`-th row; the mean goes over the targets of all ranks. What does not fit into the
        memory of a process that is alone is taken in halves, and so from then on.
        """
        start = time.perf_counter()
        batch = self.batch(self.step)
        loss = self._backward(self._share(batch), int((batch["targets"] != IGNORED).sum()))
        nn.utils.clip_grad_norm_(self.student.parameters(), self.recipe.clip)
        rate = schedule(self.recipe, self.progress)  # once: ranks may have to agree on it
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        value = float(self.place.sum(loss))
        self.step += 1
        self.recent = [self.recent[0] + value, self.recent[1] + 1]
        self.seconds += time.perf_counter() - start
        return value

    def _backward(self, share: Batch, count: int) -> torch.Tensor:
        """Put the gradient of this rank's rows in place and return their share of the mean loss."""
        rows = len(share["targets"])
        while True:
            self.optimizer.zero_grad()
            try:
                total = torch.zeros((), device=self.place.device)
                for places in torch.arange(rows, device=self.place.device).chunk(self.parts):
                    part = share if self.parts == 1 else {name: given[places] for name, given in share.items()}
                    loss = self.wrapped(part).sum() / count
                    (loss * self.place.world).backward()  # ranks average their gradients
                    total += loss.detach()
                return total
            except RuntimeError as error:
                if self.place.world > 1 or self.parts >= rows or not out_of_memory(error):
                    raise
            self.parts *= 2  # only now, when the error is forgotten and with it the tensors of its frames
            self.place.release()

    def note(self, held_out: float) -> dict[str, float]:
        """Add a point to the curve and return it."""
        total, count = self.recent
        self.curve.append({"step": self.step, "tokens": self.tokens, "seconds": round(self.seconds, 2),
                           "loss": round(total / max(count, 1), 4), "held_out": round(held_out, 4)})
        self.recent = [0.0, 0.0]
        self.contended |= contended(1)
        return self.curve[-1]

    def save(self, path: Path) -> None:
        """Write the whole state atomically; rank 0 only.

        Raises:
            UserError: the file cannot be written.
        """
        if self.place.rank:
            return
        state = {"identity": self.identity, "model": self.student.model.state_dict(),
                 "optimizer": self.optimizer.state_dict(), "step": self.step, "seconds": self.seconds,
                 "curve": self.curve, "recent": self.recent, "contended": self.contended}
        partial = path.with_suffix(".partial")
        try:
            with partial.open("wb") as file:
                torch.save(state, file)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
            partial.unlink(missing_ok=True)
            raise UserError(f"the checkpoint {str(path)!r} cannot be written ({str(error).splitlines()[0]}): free some "
                            "space or set TLBENCH_CACHE; what was trained so far is kept in the last one") from error

    def load(self, path: Path) -> None:
        """Continue from a checkpoint.

        Raises:
            UserError: the checkpoint is damaged, or was made by another recipe or from another corpus.
        """
        try:
            state: dict[str, Any] = torch.load(path, weights_only=True, map_location=self.place.device)
            identity = state["identity"]
        except (OSError, RuntimeError, ValueError, EOFError, LookupError, TypeError, UnpicklingError) as error:
            raise UserError(f"the checkpoint {str(path)!r} cannot be read ({type(error).__name__}): remove it to start "
                            "over") from error
        if identity != self.identity:
            raise UserError(f"the checkpoint {str(path)!r} was made by another recipe or from another corpus: remove "
                            "it to start over")
        self.student.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.seconds = state["step"], state["seconds"]
        self.curve, self.recent = state["curve"], state["recent"]
        self.contended = state.get("contended", False)
