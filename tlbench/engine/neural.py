"""The neural learner: what lies upstream, a trained machine, its predictions."""

from __future__ import annotations

import math
import time
from dataclasses import asdict, replace
from typing import Any

import torch
from torch import nn

from tlbench.canonical import digest
from tlbench.data import CellData
from tlbench.engine.bench import Bench
from tlbench.engine.distillation import Lesson, lesson
from tlbench.engine.families import Source, load_tokenizer
from tlbench.engine.place import AgreedMemoryError, out_of_memory
from tlbench.engine.reading import read, title_of
from tlbench.engine.spans import ONE_TOKENIZER
from tlbench.engine.trained import Before, Trained, copies, train
from tlbench.engine.upstream import made_from, opened, source_cell, source_data, stored, validation_score
from tlbench.errors import UnsupportedError
from tlbench.grid import Cell
from tlbench.learned import Learned, Used
from tlbench.setups import Checkpoint, Continued, FixedSteps, Plateau, Random, Setup
from tlbench.task import texts_of
from tlbench.transferability import overlap

_SCHEDULES = {FixedSteps: "linear warm-up, linear to 0", Plateau: "linear warm-up, constant, linear to 0"}


def learn(cell: Cell, data: CellData, source: Source, bench: Bench) -> Learned:
    """Train and predict with the smallest number of micro-batches that fits into memory.

    Out of memory starts the cell again with half the micro-batch at the same effective batch; the record says
    which one was used. Among several ranks all start again, or none: the error must be one that all of them raise.
    """
    micro = math.ceil(cell.condition.setup.phases[0].recipe.batch_size / bench.place.world)
    while True:
        try:
            return _learn(cell, data, source, bench, micro)
        except (AgreedMemoryError, RuntimeError) as error:
            known = isinstance(error, AgreedMemoryError) or bench.place.world == 1
            if micro == 1 or not (known and out_of_memory(error)):
                raise
            micro = max(1, micro // 2)
        finally:
            bench.place.release()


def _learn(cell: Cell, data: CellData, source: Source, bench: Bench, micro: int) -> Learned:
    _check_teacher(cell, source, bench)
    used, state = _upstream(cell, data, source, bench, micro)
    reading = _read(cell, data, source, bench)
    if reading:
        used, source = [*used, reading[0]], reading[1]
    given = _lesson(cell, data, bench, micro)
    done = train(cell, data, source, bench, micro, Before(state, given, probe=state is not None))
    bench.clock.lap("train")
    if done.predictors:
        used[-1] = replace(used[-1], predictors={**used[-1].predictors, **done.predictors})
    validation = done.predict("validation", data.validation, bench)
    test = done.predict("test", data.test, bench)
    stated = done.likelihoods("test", data.test, bench) if cell.condition.task.likelihood else ()
    bench.clock.lap("evaluate")
    setup = cell.condition.setup
    training = {**_training(setup, micro, done), **asdict(done.fitted)}
    if not training["tokens_beside"]:
        del training["tokens_beside"]
    if given:
        used += _taught(cell, given)
    used += [*done.kept, *done.beside]
    if used:
        training["upstream"] = [asdict(one) for one in used]
    if unlabelled := done.texts | (reading[2] if reading else frozenset()):
        training["unlabeled"] = len(unlabelled)
    model = {**done.counts, "init": "random" if setup.at_random else "pretrained"}
    return Learned(validation, test, training, model, _flops(done, 2 if stated else 1), stated)


def _check_teacher(cell: Cell, source: Source, bench: Bench) -> None:
    """Check, before anything is trained or read, that a teacher of answers has the student's words.

    Raises:
        UnsupportedError: it has another tokenizer.
    """
    teacher = cell.condition.setup.teacher
    if teacher is None or teacher.model is None or cell.condition.task.kind != "question-answering":
        return
    other = bench.model(teacher.model, cell.condition.task.kind)
    if load_tokenizer(source).get_vocab() != load_tokenizer(other).get_vocab():
        raise UnsupportedError(ONE_TOKENIZER)


def _read(cell: Cell, data: CellData, source: Source, bench: Bench) -> tuple[Used, Source, frozenset[str]] | None:
    """Return what was read before, the model to load for it and the texts, or `None` without reading."""
    start = cell.condition.setup.weights
    if not isinstance(start, Continued):
        return None
    began = time.perf_counter()
    seed = start.recipe.seed + (0 if start.shared else cell.replicate)
    drawn = replace(start, recipe=replace(start.recipe, seed=seed))
    made, model, texts = read(drawn, data.task, source, bench)
    bench.clock.lap("upstream")
    stage = made.folder.name[:16]
    spent = bench.charged(stage, min(made.seconds, time.perf_counter() - began))
    title = title_of(start.corpus, isinstance(start.start, Random), source, cell.condition.task)
    used = Used(title, stage=stage, shared=start.shared, seconds=made.seconds, spent=spent)
    return used, model, texts


def _lesson(cell: Cell, data: CellData, bench: Bench, micro: int) -> Lesson | None:
    """Return what the teachers of a cell's Setup say of its training examples, or `None` without teachers."""
    if cell.condition.setup.teacher is None:
        return None
    own = replace(data, test=())  # teachers have no test split to look at

    def teach(above: Cell, member: int) -> Trained:
        assert above.condition.model is not None
        model = bench.model(above.condition.model, above.condition.task.kind)
        return train(above, own, model, bench, micro, Before(member=member))

    given = lesson(cell, data, data.train + copies(cell, data), teach, bench)
    bench.clock.lap("upstream")
    return given


def _taught(cell: Cell, given: Lesson) -> list[Used]:
    """Return the teachers of a lesson as a record tells them: they bring in no labels."""
    teacher = cell.condition.setup.teacher
    assert teacher is not None
    name = teacher.model.name if teacher.model else "the student's model"
    return [Used(f"teacher: {name}", stage=one.stage, seconds=one.seconds, spent=one.spent) for one in given.teachers]


def _upstream(
    cell: Cell, target: CellData, source: Source, bench: Bench, micro: int
) -> tuple[list[Used], dict[str, torch.Tensor] | None]:
    """Return the trunk that a cell's Setup starts from, and what it cost; nothing if it starts from the model.

    Args:
        cell: The cell, or the one that trains a source model for it.
        target: Examples of the cell that is scored in the end: no source may train on its test texts.
        source: The model.
        bench: What it runs on.
        micro: Examples that fit into memory at once.
    """
    start = cell.condition.setup.weights
    if not isinstance(start, Checkpoint):
        return [], None
    above = source_cell(cell, start)
    data, left_out = source_data(above, bench.data(start.task), target)
    model = replace(source, generates=start.task.kind == "text-generation")
    before: list[Used] = []

    def trunk() -> tuple[nn.Module, float]:
        earlier, state = _upstream(above, target, model, bench, micro)
        before.extend(earlier)
        done = train(above, data, model, bench, micro, Before(state))
        return done.machine.trunk, validation_score(above, data, done.predict("validation", data.validation, bench))

    key = made_from(above, data, bench.numerics)
    arrays, there = bench.stage("checkpoints", key, lambda: stored(trunk))
    state, seconds, score = opened(arrays)
    bench.clock.lap("upstream")
    stage = digest(key, 16)
    used = Used(
        stage=stage,
        task=start.task.name,
        labels=len(data.train) + len(data.validation),
        shared=start.shared,
        seconds=seconds,
        spent=bench.charged(stage, 0.0 if there else seconds),
        left_out=left_out,
        validation_score=score,
        predictors={"overlap": overlap(_texts(data), _texts(target))},
    )
    return [*before, used], state


def _texts(data: CellData) -> list[str]:
    return [text for example in data.train for text in texts_of(example)]


def _training(setup: Setup, micro: int, done: Trained) -> dict[str, Any]:
    """Return what the record's `training` group says of the recipe."""
    last = setup.phases[-1]
    return {
        "optimizer": last.recipe.optimizer,
        "batch_size": last.recipe.batch_size,
        "micro_batch": micro,
        "schedule": _SCHEDULES[type(last.stop)],
        **({"phases": len(setup.phases)} if len(setup.phases) > 1 else {}),
        **({"copies": done.copies} if setup.augment else {}),
    }


def _flops(done: Trained, readings: int) -> float:
    """Return the operations of training, of making frozen features once, and of so many passes over the test part."""
    cached = {name for name, part in done.encoded.items() if part.hidden is not None} - {"test"}
    tokens = {name: float(done.encoded[name].tokens.lengths.sum()) for name in cached | {"test"}}
    passed = sum(tokens[name] for name in cached) + readings * tokens["test"]
    return done.flops + 2.0 * done.counts["params_total"] * passed
