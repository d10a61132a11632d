"""Pre-training as a stage: a checkpoint that its content addresses, computed once, for strategies to start from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tlbench.corpora.documents import documents_of
from tlbench.engine.pretraining.result import make_model
from tlbench.engine.pretraining.start import Start
from tlbench.engine.pretraining.training import Bench, Job
from tlbench.setups import Pretraining
from tlbench.stages.store import StageStore

STAGE = "pretrained"


@dataclass(frozen=True)
class Checkpoint:
    """A pre-trained model on disk, and what it cost.

    Attributes:
        folder: A `save_pretrained` folder with float32 weights and tokenizer.
        seconds: Seconds in optimizer steps, when it was made.
        tokens: Corpus tokens seen.
        loss: Mean training loss of the last stretch, nats per target.
        held_out: Held-out loss of the weights as stored, nats per target.
        facts: All that the model's `pretraining.json` says.
    """

    folder: Path
    seconds: float
    tokens: int
    loss: float
    held_out: float
    facts: Mapping[str, Any]


def pretrained(texts: Sequence[str], start: Start, recipe: Pretraining, bench: Bench) -> Checkpoint:
    """Return the checkpoint that texts, start, recipe and precision determine; the command's very code makes it.

    It is computed once: a second caller finds it, one in another process at the same time waits for it, and one that
    comes after a kill goes on from the last checkpoint. Threads and library versions do not enter the address, as
    they do not change what is asked for; the facts name them.

    Args:
        texts: Documents, such as a task's training texts; they are read as a set.
        start: Source of a model to go on from, `Untrained` for its architecture at random, or a shape.
        recipe: How it is trained; see `recipes.default_pretraining`.
        bench: Device, precision, cache and progress.

    Raises:
        UserError: too few texts, too small a budget, an objective that is not the family's, a model that cannot be
            loaded, or a disk that is full.
    """
    job = Job(documents_of(texts), start, recipe)
    folder = StageStore(bench.cache / "stages").path(STAGE, job.made_from(bench.precision))
    facts = make_model(job, bench, folder)
    return Checkpoint(folder, facts["seconds"], facts["tokens"], facts["loss"], facts["held_out"], facts)
