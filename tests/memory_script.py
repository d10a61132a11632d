"""What `test_ranks.py` runs on two ranks, one of which is short of memory: the command line, as it is."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

LARGEST = 2
"""Examples that fit into the short rank's memory while it trains."""


def main(way: str, out: str) -> None:
    """Run the command line; each rank writes the micro-batches that it tried to `<out>/rank<number>.json`."""
    import torch

    from tlbench import cli
    from tlbench.engine import trained

    torch.set_num_threads(1)
    rank, tried, fit = os.environ["RANK"], [], trained.fit

    def noted(machine: Any, job: Any, place: Any) -> Any:
        tried.append(job.micro_batch)
        return fit(machine, job, place)

    trained.fit = noted
    # The one batch of the toy test split is the first rank's.
    short = {"training": ("1", short_to_train), "predicting": ("0", short_to_predict), "step": ("1", short_in_a_step)}
    if rank == short[way][0]:
        short[way][1]()
    try:
        cli.main()
    finally:
        (Path(out) / f"rank{rank}.json").write_text(json.dumps(tried), encoding="utf-8")


def short_to_train() -> None:
    """Hold no more than `LARGEST` examples at once."""
    from tlbench.engine.machine import Machine

    forward = Machine.forward
    Machine.forward = lambda machine, batch: full() if rows(batch) > LARGEST else forward(machine, batch)


def short_to_predict() -> None:
    """Hold no batch that a machine whose trunk moves predicts."""
    from tlbench.engine.forms import ClassificationForm

    raw = ClassificationForm.raw
    ClassificationForm.raw = lambda form, machine, batch: (
        raw(form, machine, batch) if machine.head_only else full())


def short_in_a_step() -> None:
    """Hold the first two micro-batches, of the rehearsal and of the first step, and no other."""
    from tlbench.engine.machine import Machine

    forward, seen = Machine.forward, []

    def counted(machine: Any, batch: Any) -> Any:
        seen.append(rows(batch))
        return full() if len(seen) > 2 else forward(machine, batch)

    Machine.forward = counted


def rows(batch: Any) -> int:
    """Return the number of examples of a batch."""
    return len(batch["attention_mask"])


def full() -> Any:
    """Say what torch says when memory is full."""
    import torch

    raise torch.OutOfMemoryError("full")


if __name__ == "__main__":
    given = sys.argv[1:3]
    sys.argv[1:] = sys.argv[3:]
    main(*given)
