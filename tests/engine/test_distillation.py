"""Teachers: what they say, how it is aligned with a student's tokens, and what the loss makes of it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from tlbench.cells import Shop, run_cell
from tlbench.engine import neural
from tlbench.engine.distillation import Lesson, with_lesson
from tlbench.engine.forms import IGNORED, softmax
from tlbench.engine.machine import Machine
from tlbench.engine.place import Place
from tlbench.grid import Cell
from tlbench.planning import Request, make_plan
from tlbench.registry import Registry
from tlbench.setups import Setup, Teacher
from tlbench.sources import DataSource

FAMILIES = ("encoder", "decoder", "encoder-decoder")
KINDS = ("text-classification", "text-regression", "token-classification", "question-answering", "text-generation")


@pytest.fixture(autouse=True)
def short_teachers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Train teachers for a few steps too."""
    lesson = neural.lesson

    def short(cell: Cell, *given: Any) -> Lesson:
        teacher = cell.condition.setup.teacher
        assert teacher is not None
        phases = tuple(
            replace(p, recipe=replace(p.recipe, epochs=1e-6, min_steps=4, batch_size=8, max_target_length=8))
            for p in teacher.setup.phases
        )
        setup = replace(cell.condition.setup, teacher=replace(teacher, setup=replace(teacher.setup, phases=phases)))
        return lesson(replace(cell, condition=replace(cell.condition, setup=setup)), *given)

    monkeypatch.setattr(neural, "lesson", short)


@pytest.fixture
def fresh(registry: Registry, place: Place, tmp_path: Path) -> Shop:
    """Return a shop whose store holds no teachers of other tests."""
    return Shop(registry, DataSource(cache=tmp_path / "cache", offline=True), place, "fp32")


@pytest.mark.parametrize(("kind", "family"), [
    (k, f) for k in KINDS for f in FAMILIES if (k, f) != ("text-generation", "encoder")
])
def test_student_learns_from_its_own_kind(kind: str, family: str, cell_of: Callable[..., Cell], shop: Shop) -> None:
    distill = "distill" if kind == "text-generation" else "distill(members=2)"  # one teacher teaches by texts
    cell = cell_of(kind, family, f"{distill}+augment(copies=1)+short")
    first, again = run_cell(cell, shop), run_cell(cell, shop)
    assert first.facts["status"] in ("ok", "collapsed"), first.facts["reason"]
    made, reused = (outcome.facts["training"]["upstream"] for outcome in (first, again))
    assert len(made) == len(reused) == (1 if kind == "text-generation" else 2)
    for one, other in zip(made, reused, strict=True):
        assert (one["task"], one["labels"], one["stage"]) == ("teacher: the student's model", 0, other["stage"])
        assert one["spent"] == one["seconds"] == other["seconds"] > other["spent"] == 0
    curves = [json.dumps(outcome.facts["training"]["curve"]) for outcome in (first, again)]
    assert curves[0] == curves[1]
    assert first.predictions.equals(again.predictions)


def test_teachers_of_another_tokenizer_teach_classes_and_tags_but_no_answers(
    zoo: Callable[..., Path], shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    taught, lesson = [], neural.lesson
    monkeypatch.setattr(neural, "lesson", lambda cell, *given: taught.append(cell) or lesson(cell, *given))  # type: ignore[func-returns-value]
    names = tuple(str(zoo(family)) for family in ("encoder", "decoder"))
    status = {}
    for task in ("toy-topic", "toy-names", "toy-where"):
        request = Request((task,), ("distill(teacher=tiny-decoder,members=1)+short",), names, replicates=1)
        cell = next(c for c in make_plan(request, shop.registry, shop.source).cells
                    if c.condition.model and c.condition.model.family == "encoder")
        outcome = run_cell(cell, shop)
        status[task] = outcome.facts["status"], outcome.facts["reason"]
    assert status["toy-topic"][0] in ("ok", "collapsed"), status
    assert status["toy-names"][0] in ("ok", "collapsed"), status
    assert status["toy-where"][0] == "unsupported"
    assert "one tokenizer" in str(status["toy-where"][1])
    assert [cell.condition.task.name for cell in taught] == ["toy-topic", "toy-names"]  # known before one is trained


def test_teachers_differ_in_their_streams_and_see_the_cells_own_labels(
    cell_of: Callable[..., Cell], shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    train = neural.train

    def watched(cell: Cell, data: Any, *given: Any) -> Any:
        done = train(cell, data, *given)
        seen.append((given[-1].member, [e.id for e in data.train], len(data.test), done.fitted.curve,
                     done.machine.head.weight.detach().clone()))
        return done

    monkeypatch.setattr(neural, "train", watched)
    run_cell(cell_of("text-classification", "encoder", "distill(members=2,temperature=3.5)+short"), shop)
    (zero, ids, tests, *_), (one, others, _, *_), (student, own, *_) = seen
    assert (zero, one, student) == (0, 1, None)
    assert ids == others == own
    assert tests == 0
    assert not torch.equal(seen[0][-1], seen[1][-1])


def test_each_teacher_is_kept_by_itself(
    cell_of: Callable[..., Cell], fresh: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[int | None] = []
    train = neural.train

    def watched(*given: Any) -> Any:
        trained.append(given[-1].member)
        if trained == [0, 1] and interrupted:
            raise KeyboardInterrupt
        return train(*given)

    monkeypatch.setattr(neural, "train", watched)
    interrupted, cell = True, cell_of("token-classification", "encoder", "distill(members=3)+short")
    with pytest.raises(KeyboardInterrupt):
        run_cell(cell, fresh)
    interrupted = False
    trained.clear()
    three = run_cell(cell, fresh)
    assert trained == [1, 2, None]  # the first had been asked before the interrupt
    trained.clear()
    two = run_cell(cell_of("token-classification", "encoder", "distill(members=2)+short"), fresh)
    assert trained == [None]
    large, small = (outcome.facts["training"]["upstream"] for outcome in (three, two))
    assert [one["stage"] for one in large[:2]] == [one["stage"] for one in small]
    assert [one["spent"] > 0 for one in large] == [False, True, True]
    assert [one["spent"] for one in small] == [0, 0]


@pytest.mark.parametrize(("strategy", "again"), [
    ("distill(members=1,weight=0.9)", False),
    ("distill(members=1)+lora", False),
    ("distill(members=1,temperature=5.0)", True),
    ("distill(members=1)+augment(copies=1)", True),
    ("distill(members=1,teacher=tiny-decoder)", True),
])
def test_teachers_are_asked_again_where_they_would_say_something_else(
    strategy: str, again: bool, fresh: Shop, zoo: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[int | None] = []
    train = neural.train
    monkeypatch.setattr(neural, "train", lambda *given: (trained.append(given[-1].member), train(*given))[1])
    names = tuple(str(zoo(family)) for family in ("encoder", "decoder"))
    for text in ("distill(members=1)+short", f"{strategy}+short"):
        trained.clear()
        cells = make_plan(Request(("toy-topic",), (text,), names, replicates=1), fresh.registry, fresh.source).cells
        (cell,) = (each for each in cells if each.condition.model and each.condition.model.family == "encoder")
        run_cell(cell, fresh)
    assert trained == ([0, None] if again else [None])


def test_other_labels_or_another_recipe_take_other_teachers(
    cell_of: Callable[..., Cell], fresh: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = cell_of("text-classification", "encoder", "distill(members=1)+short")
    condition, teacher = cell.condition, cell.condition.setup.teacher
    assert teacher is not None
    phase = teacher.setup.phases[0]
    slower = replace(phase, recipe=replace(phase.recipe, learning_rate=phase.recipe.learning_rate / 2))
    other = replace(condition.setup, teacher=replace(teacher, setup=replace(teacher.setup, phases=(slower,))))
    changed = (replace(condition, label_noise=0.5), replace(condition, budget=30), replace(condition, setup=other))
    cells = [cell, replace(cell, replicate=1), *(replace(cell, condition=each) for each in changed)]
    found = {run_cell(each, fresh).facts["training"]["upstream"][0]["stage"] for each in cells}
    assert len(found) == len(cells)


def test_full_memory_charges_no_teacher_twice(
    cell_of: Callable[..., Cell], fresh: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[int | None] = []
    train = neural.train

    def short_of_memory(*given: Any) -> Any:
        tried.append(given[-1].member)
        if tried in ([0, 1], [0, 1, 1, None]):
            raise torch.OutOfMemoryError("full")
        return train(*given)

    monkeypatch.setattr(neural, "train", short_of_memory)
    facts = run_cell(cell_of("text-classification", "encoder", "distill(members=2,temperature=1.5)+short"), fresh).facts
    assert tried == [0, 1, 1, None, None]
    assert all(one["spent"] == one["seconds"] > 0 for one in facts["training"]["upstream"])


def test_loss_equals_its_definition(machine_of: Callable[..., Machine], toys: ModuleType) -> None:
    temperature, weight = 2.0, 0.3
    setup = Setup(teacher=Teacher(None, Setup(), 1, temperature, weight))
    machine = machine_of("text-classification", "encoder", setup)
    machine.eval()
    encoded = machine.form.encode(toys.examples("toy-topic", 2))
    q = np.array([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]], dtype=np.float32)
    lesson = Lesson(tuple(q[i : i + 1] for i in range(2)), None)
    batch = with_lesson(machine.form, encoded, lesson).batch([0, 1], torch.device("cpu"))
    z = machine.form.scores(machine, batch).detach().numpy().astype(np.float64)
    logs = np.log(softmax(z).astype(np.float64))
    hard = -sum(logs[i, int(batch["labels"][i])] for i in range(2))
    soft_logs = np.log(softmax(z / temperature).astype(np.float64))
    soft = temperature**2 * sum(q[i, c] * (math.log(q[i, c]) - soft_logs[i, c]) for i in range(2) for c in range(3))
    assert float(machine(batch).detach()) == pytest.approx((1 - weight) * hard + weight * soft, rel=1e-4)
    plain = encoded.batch([0, 1], torch.device("cpu"))
    assert float(machine(plain).detach()) == pytest.approx(hard, rel=1e-5)  # validation batches carry no teacher


def test_soft_losses_of_numbers_tags_and_answers_equal_their_definitions(machine_of: Callable[..., Machine]) -> None:
    temperature = 3.0

    def softly(scores: list[float], taught: list[float]) -> float:
        powers = [math.exp(z / temperature) for z in scores]
        return temperature**2 * sum(q * math.log(q * sum(powers) / p) for q, p in zip(taught, powers, strict=True) if q)

    def loss(kind: str, scores: Any, **batch: Any) -> float:
        given = {name: torch.tensor(value) for name, value in batch.items()}
        return float(machine_of(kind, "encoder").form.soft_loss(torch.tensor(scores), given, temperature))

    assert loss("text-regression", [[1.5], [2.0]], soft=[[[1.0]], [[4.0]]]) == pytest.approx(0.25 + 4.0)
    z, q = [[1.0, -2.0, 0.5], [3.0, 0.0, 1.0], [1.0, 1.0, 0.0]], [[0.7, 0.2, 0.1], [0.2, 0.5, 0.3], [0.0, 0.0, 0.0]]
    tagged = loss("token-classification", [z], labels=[[1, IGNORED, 0]], soft=[q])  # untagged, and unknown to teachers
    assert tagged == pytest.approx(softly(z[0], q[0]), rel=1e-5)
    begins, ends = [1.0, -1.0, 9.0], [0.5, 2.0, 9.0]  # the third token is padding
    asked = loss("question-answering", [[list(pair) for pair in zip(begins, ends, strict=True)]],
                 attention_mask=[[1, 1, 0]], soft=[[[0.9, 0.4], [0.1, 0.6], [0.0, 0.0]]])
    both = softly(begins[:2], [0.9, 0.1]) + softly(ends[:2], [0.4, 0.6])
    assert asked == pytest.approx(both / 2, rel=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_kept_answers_of_teachers_are_those_that_were_given(
    kind: str, cell_of: Callable[..., Cell], shop: Shop, without_stages: Callable[[], None]
) -> None:
    distill = "distill" if kind == "text-generation" else "distill(members=2)"
    cell = cell_of(kind, "encoder-decoder", f"{distill}+short")
    run_cell(cell, shop)
    kept = run_cell(cell, shop)
    without_stages()
    asked = run_cell(cell, shop)
    assert kept.facts["training"]["upstream"][0]["spent"] == 0 < asked.facts["training"]["upstream"][0]["spent"]
    assert kept.facts["training"]["curve"] == asked.facts["training"]["curve"]
    assert kept.predictions.equals(asked.predictions)


@pytest.mark.parametrize("kind", ["text-classification", "token-classification", "question-answering"])
def test_divergence_from_oneself_is_zero(
    kind: str, machine_of: Callable[..., Machine], toys: ModuleType
) -> None:
    machine = machine_of(kind, "encoder", Setup(teacher=Teacher(None, Setup(), 1, 2.0, 1.0)))
    machine.eval()
    form = machine.form
    encoded = form.encode(toys.examples(toys.KINDS[kind], 6))
    with torch.no_grad():
        rows = [form.raw(machine, encoded.batch([row], torch.device("cpu")))[0] for row in range(len(encoded))]
        taught = form.taught(encoded, [form.soften(row, 2.0) for row in rows])
        learning = with_lesson(form, encoded, Lesson(tuple(taught), None))
        loss = machine(learning.batch(list(range(len(encoded))), torch.device("cpu")))
    assert float(loss) == pytest.approx(0.0, abs=1e-4)


def test_tags_of_a_teacher_reach_the_words_they_belong_to(
    machine_of: Callable[..., Machine], toys: ModuleType
) -> None:
    examples = toys.examples("toy-names", 8)
    teacher, student = machine_of("token-classification", "decoder"), machine_of("token-classification", "encoder")
    said = teacher.form.encode(examples)
    width = len(teacher.form.frame.labels)
    rows = [np.zeros((n, width), dtype=np.float32) for n in said.tokens.lengths]
    for row in range(len(said)):
        for place, word in enumerate(said.ragged["word"].row(row).tolist()):
            if word >= 0:
                rows[row][place, word % width] = 1.0
    heard = student.form.learns(student.form.encode(examples), teacher.form.taught(said, rows))
    found = 0
    for row in range(len(heard)):
        soft = np.asarray(heard.ragged["soft"].row(row))
        for place, word in enumerate(heard.ragged["word"].row(row).tolist()):
            if word >= 0 and soft[place].sum():
                assert int(soft[place].argmax()) == word % width
                found += 1
            if word < 0:
                assert soft[place].sum() == 0
    assert found > 20


def test_generation_learns_the_teachers_texts_and_keeps_targets_where_they_say_nothing(toys: ModuleType) -> None:
    examples = toys.examples("toy-copy", 3)
    lesson = Lesson(None, ("one", "", "three"))
    assert [e.targets for e in lesson.targets(examples)] == [("one",), examples[1].targets, ("three",)]
