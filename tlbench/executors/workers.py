"""Independent cells side by side: one worker process per GPU, or per share of the cores."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from tlbench.canonical import digest
from tlbench.cells import Shop, failed
from tlbench.grid import Cell
from tlbench.records import Record, Store
from tlbench.runner import Ledger, Reporter, Todo, outcome_of
from tlbench.setups import Checkpoint, Continued
from tlbench.workshop import ShopSpec, open_shop


@dataclass
class Worker:
    """One worker process and the cell it works on."""

    process: BaseProcess
    pipe: Connection
    slot: int
    cell: Cell | None = None


def run_in_workers(work: Todo, spec: ShopSpec, shop: Shop, store: Store, reporter: Reporter) -> list[Record]:
    """Run the open cells on `spec.workers` processes and store each outcome as it comes.

    A worker that dies (killed, out of memory) costs its cell, which becomes a failed record; a new worker takes
    its place. Cells that share a source model, teachers or text to read first do not begin while one of them is at
    work, as long as there are others: they would wait for it.

    Args:
        work: What to do.
        spec: From which each worker opens its own shop.
        shop: The parent's shop, for the records of cells whose worker died.
        store: Where records go; only the parent writes.
        reporter: Who is told.
    """
    queue, workers = list(work.cells), list[Worker]()
    with Ledger(work, store, reporter) as ledger, _ended(workers):
        for slot in range(min(spec.workers, len(queue))):
            workers.append(_start(spec, work, slot))
        while queue or any(worker.cell for worker in workers):
            for place in range(len(workers)):
                if workers[place].cell is None and queue:
                    worker = workers[place] = _alive(workers[place], spec, work)
                    worker.cell = _taken(queue, [each.cell for each in workers if each.cell])
                    ledger.begin(worker.cell)
                    with suppress(OSError):  # one that died this moment is noticed by its sentinel
                        worker.pipe.send(worker.cell)
            for worker in _ready(workers):
                ledger.finish(_receive(worker, shop))
                worker.cell = None
    return ledger.records


def _taken(queue: list[Cell], running: Sequence[Cell]) -> Cell:
    """Take the next cell from the queue: the first that does not wait for what a running one may still be making."""
    making = frozenset[str]().union(*map(stages_of, running))
    place = next((at for at, cell in enumerate(queue) if not stages_of(cell) & making), 0)
    return queue.pop(place)


def stages_of(cell: Cell) -> frozenset[str]:
    """Return names of what lies before a cell and is shared: a source model, teachers, text that is read, vectors.

    It only decides who waits for whom: cells with one name have one stage, or several of which some are one.
    """
    condition, setup = cell.condition, cell.condition.setup
    weights, found = setup.weights, list[object]()
    if isinstance(weights, Checkpoint | Continued):
        text = condition.task.name if isinstance(weights, Continued) and weights.corpus == "task" else ""
        alike = replace(weights, shared=True)
        found.append([condition.model, alike, text, 0 if weights.shared else cell.replicate])
    if setup.teacher is not None:
        labels = [condition.task, condition.budget, condition.label_noise, cell.replicate]
        found.append([*labels, condition.model, replace(setup.teacher, members=1, weight=0.0)])
    learner = setup.learner
    if learner.reads:
        found.append([replace(learner, shared=True), 0 if learner.shared else cell.replicate])
    return frozenset(digest(each) for each in found)


@contextmanager
def _ended(workers: list[Worker]) -> Iterator[None]:
    """End all workers on the way out, however it is taken."""
    try:
        yield
    finally:
        for worker in workers:
            worker.process.terminate()
            worker.process.join()


def _alive(worker: Worker, spec: ShopSpec, work: Todo) -> Worker:
    """Return the worker, or a new one in its place if its process has ended."""
    if worker.process.is_alive():
        return worker
    worker.pipe.close()
    return _start(spec, work, worker.slot)


def _ready(workers: list[Worker]) -> list[Worker]:
    """Wait until a busy worker answers or dies."""
    busy = [worker for worker in workers if worker.cell]
    ready = wait([waitable for worker in busy for waitable in (worker.pipe, worker.process.sentinel)])
    return [worker for worker in busy if worker.pipe in ready or worker.process.sentinel in ready]


def _receive(worker: Worker, shop: Shop) -> Any:
    assert worker.cell is not None
    try:
        if worker.pipe.poll():
            return worker.pipe.recv()
    except (EOFError, OSError):
        pass
    worker.process.join()
    return failed(
        worker.cell,
        shop,
        f"the worker process ended with exit code {worker.process.exitcode} (killed, or out of memory)",
    )


def _start(spec: ShopSpec, work: Todo, slot: int) -> Worker:
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(there, spec, work, slot), daemon=True)
    with _surroundings(spec, slot):
        process.start()
    there.close()
    return Worker(process, here, slot)


@contextmanager
def _surroundings(spec: ShopSpec, slot: int) -> Iterator[None]:
    """Give a worker its share of the machine: threads on a CPU, one device on GPUs."""
    share = {"OMP_NUM_THREADS": str(spec.threads), "TOKENIZERS_PARALLELISM": "false"}
    if spec.gpus:
        share["CUDA_VISIBLE_DEVICES"] = spec.gpus[slot % len(spec.gpus)]
    before = {name: os.environ.get(name) for name in share}
    os.environ.update(share)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _serve(pipe: Connection, spec: ShopSpec, work: Todo, slot: int) -> None:
    """Answer cells with outcomes until the parent goes away."""
    import torch

    torch.set_num_threads(spec.threads)
    if hasattr(os, "sched_setaffinity") and not spec.gpus:
        cores = sorted(os.sched_getaffinity(0))
        mine = cores[slot * spec.threads : (slot + 1) * spec.threads]
        os.sched_setaffinity(0, mine or cores)
    shop = open_shop(spec)
    try:
        while True:
            pipe.send(outcome_of(pipe.recv(), work, shop))
    except (EOFError, BrokenPipeError, KeyboardInterrupt):
        pass
    finally:
        shop.place.close()
