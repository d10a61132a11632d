"""From documents to a trained model in memory: prepare, train or continue, measure."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tlbench.canonical import digest
from tlbench.corpora.documents import Documents
from tlbench.engine.place import Place
from tlbench.engine.precision import Precision
from tlbench.engine.pretraining.held_out import ROWS, HeldOut
from tlbench.engine.pretraining.objectives import Student, family_check, objective_for
from tlbench.engine.pretraining.packing import Rows, Tokens, tokenize
from tlbench.engine.pretraining.run import Run
from tlbench.engine.pretraining.start import Learner, Start, family_of, identity_of, prepare
from tlbench.engine.pretraining.vocabulary import symbols_of
from tlbench.errors import UserError
from tlbench.setups import Pretraining

POINTS = 20
"""Points of the loss curve, by tokens; the last one comes on top."""
SECONDS_PER_LINE = 10.0
_LAYOUT = 2
"""Version of this package where it decides the weights; raised when such code changes."""


@dataclass(frozen=True)
class Job:
    """What is asked for, and all that may change the weights but the machine.

    Attributes:
        documents: The text.
        start: A small architecture, or an existing model.
        recipe: How it is trained.
        dtype: In what the weights are stored.
        compiled: Whether `torch.compile` fuses the step; its rounding differs from the plain one.
    """

    documents: Documents
    start: Start
    recipe: Pretraining
    dtype: Literal["float32", "bfloat16"] = "float32"
    compiled: bool = False

    def made_from(self, precision: Precision) -> dict[str, Any]:
        """Return what the model is made from, as canonical JSON types: its address in a cache."""
        return {"layout": _LAYOUT, "documents": self.documents.fingerprint, "start": identity_of(self.start),
                "recipe": self.recipe, "dtype": self.dtype, "precision": precision, "compiled": self.compiled}


@dataclass(frozen=True)
class Bench:
    """What a job runs on; nothing here changes the answer.

    Attributes:
        place: Device and ranks.
        precision: Resolved precision.
        cache: Root of tlbench's cache, on a disk that all ranks see; jobs in progress lie in it.
        say: Prints one line of progress; called on rank 0 only.
        every: Seconds between checkpoints.
    """

    place: Place
    precision: Precision
    cache: Path
    say: Callable[[str], None] = lambda line: None
    every: float = 120.0

    def work(self, job: Job) -> Path:
        """Return the folder of a job's tokenizer and checkpoint."""
        return self.cache / "pretraining" / digest(job.made_from(self.precision), 40)


@dataclass(frozen=True)
class Trained:
    """A run that has spent its budget, and what it was measured with."""

    run: Run
    learner: Learner
    held_out: HeldOut
    training: Documents
    tokens: Tokens


def pretrain(job: Job, bench: Bench) -> Trained:
    """Train, or go on from the checkpoint in the work folder, until the budget is spent.

    Raises:
        UserError: the corpus or the budget is too small, the objective is not one for the family, the model cannot
            be loaded or its step not be compiled, the loss is no longer finite, or the disk is full.
    """
    check(job.recipe, job.start, bench.place.world)
    training, measured = job.documents.divide()
    learner = _learner(job, training, bench)
    tokens = tokenize(training, learner.tokenizer)
    symbols = symbols_of(learner.tokenizer, getattr(learner.model.config, "decoder_start_token_id", None))
    student = Student(learner.model, objective_for(job.recipe, learner.family, symbols), bench.precision)
    held_out = HeldOut(tokenize(measured, learner.tokenizer), student, job.recipe)
    identity = digest([job.made_from(bench.precision), tokens.fingerprint])
    run = Run(job.recipe, Rows(tokens, job.recipe), student, bench.place, identity, job.compiled)
    if job.compiled:
        bench.place.in_step(run.warm_up)
    checkpoint = bench.work(job) / "checkpoint.pt"
    if checkpoint.is_file():
        run.load(checkpoint)
    if bench.place.rank == 0:
        size = sum(p.numel() for p in learner.model.parameters())
        bench.say(f"{len(tokens.starts) - 1:,} documents, {tokens.epoch:,} tokens an epoch, {len(held_out.rows)} "
                  f"held-out sequences, {size:,} parameters, {bench.precision}, from step {run.step}")
    _train(run, held_out, bench, checkpoint)
    return Trained(run, learner, held_out, training, tokens)


def check(recipe: Pretraining, start: Start, world: int) -> None:
    """Refuse what cannot be trained, before any text is read.

    Raises:
        UserError: an impossible number, a budget of less than one step, or an objective that is not the family's.
    """
    family_check(recipe, family_of(start))
    if min(recipe.batch, recipe.length) < 1 or recipe.length < 16:
        raise UserError(f"batches of {recipe.batch} sequences of {recipe.length} tokens cannot be trained on: give at "
                        "least 1 sequence of 16 tokens")
    if recipe.tokens < recipe.batch * recipe.length:
        raise UserError(f"the budget of {recipe.tokens} tokens is less than one step of {recipe.batch} x "
                        f"{recipe.length} tokens: give more --tokens or a smaller --batch")
    if recipe.minutes is not None and not 0 < recipe.minutes < math.inf:
        raise UserError(f"--minutes is {recipe.minutes:g}: give a finite number above 0, or leave it out")
    if recipe.seed < 0:
        raise UserError(f"--seed is {recipe.seed}: give 0 or more")
    if not math.isfinite(recipe.span) or not math.isfinite(recipe.step_size):
        raise UserError(f"the span of {recipe.span:g} tokens and the step size {recipe.step_size:g} must be finite")
    if not 0 < recipe.noise < 1 or recipe.span < 1 or not recipe.step_size > 0 or not 0 < recipe.warmup < 1:
        raise UserError("the recipe is impossible: noise and warm-up lie between 0 and 1, a span has at least 1 token, "
                        "and the step size is positive")
    if recipe.batch < world:
        raise UserError(f"a batch of {recipe.batch} cannot be shared by {world} processes: give a larger --batch")


def _learner(job: Job, training: Documents, bench: Bench) -> Learner:
    """Prepare the model; a tokenizer that was trained is kept, so that a resumed run and all ranks use the same."""
    folder = bench.work(job) / "tokenizer"
    if bench.place.rank == 0:
        learner = prepare(job.start, training, job.recipe, folder)
    bench.place.barrier()
    return learner if bench.place.rank == 0 else prepare(job.start, training, job.recipe, folder)


def _train(run: Run, held_out: HeldOut, bench: Bench, checkpoint: Path) -> None:
    """Spend the budget; the curve's points come by steps, checkpoints and lines by the clock."""
    steps = -(-run.recipe.tokens // (run.recipe.batch * run.recipe.length))
    every = max(1, steps // POINTS)
    saved = said = time.monotonic()
    mark = (run.tokens, run.seconds)
    progress = run.progress
    while progress < 1.0:
        loss = run.advance()
        progress = run.progress  # on all ranks alike: under --minutes they agree on it
        if not math.isfinite(loss):
            raise UserError(f"the training loss is {loss} at step {run.step}: give a smaller --step-size")
        if run.step % every == 0 and progress < 1.0:
            _note(run, held_out, bench, ROWS, progress)
        now = time.monotonic()
        if now - said >= SECONDS_PER_LINE and bench.place.rank == 0:
            rate = (run.tokens - mark[0]) / max(run.seconds - mark[1], 1e-9)
            bench.say(_line(run, progress, f"loss {loss:.3f}  {rate:,.0f} tokens/s"))
            said, mark = now, (run.tokens, run.seconds)
        if now - saved >= bench.every:
            run.save(checkpoint)
            saved = time.monotonic()
    if not run.curve or run.curve[-1]["step"] != run.step:
        _note(run, held_out, bench, None, progress)
        run.save(checkpoint)


def _note(run: Run, held_out: HeldOut, bench: Bench, rows: int | None, progress: float) -> None:
    point = run.note(held_out.loss(run.student, bench.place, rows))
    if bench.place.rank == 0:
        bench.say(_line(run, progress, f"loss {point['loss']:.3f}  held-out {point['held_out']:.3f}"))


def _line(run: Run, progress: float, text: str) -> str:
    return (f"{time.strftime('%H:%M:%S')}  step {run.step}  {run.tokens / 1e6:.2f} M tokens  {progress:4.0%}  "
            f"{run.seconds / 60:.1f} min  {text}")
