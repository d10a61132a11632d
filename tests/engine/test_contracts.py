"""What is declared reaches what is built: options of strategies, adapters, read layers, modes, labels, teachers."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tlbench import specs
from tlbench.cells import Shop, bench_for
from tlbench.data import CellData, TaskData, cell_data
from tlbench.engine.distillation import lesson, with_lesson
from tlbench.engine.fit import Joint
from tlbench.engine.machine import Machine
from tlbench.engine.measure import Clock
from tlbench.engine.place import Place
from tlbench.engine.predict import predict
from tlbench.engine.upstream import source_data
from tlbench.grid import Cell
from tlbench.registry import Registry
from tlbench.setups import (
    Augment,
    Checkpoint,
    Mixture,
    ModelRef,
    Peft,
    Phase,
    Pretraining,
    Readout,
    Recipe,
    Setup,
    Stream,
    Teacher,
    TextStream,
    Ties,
)
from tlbench.strategy import Offer, SourceOffer, TeacherOffer
from tlbench.task import Example, TaskRef, TextExample

CPU = torch.device("cpu")
OTHER = TaskRef("other", 1, "text-classification", "accuracy", 10)
THEIRS = Setup(phases=(Phase(recipe=Recipe(epochs=1.5)),))
BIG = ModelRef("big", "encoder", "bert", "mean", {})
READING = Pretraining("masked", length=77, noise=0.3, span=2.0)
OFFER = Offer(
    "text-classification", "target", "encoder", 40,
    sources={"other": SourceOffer(OTHER, 60, THEIRS)},
    teachers={"": TeacherOffer(None, THEIRS), "big": TeacherOffer(BIG, THEIRS)},
    reading=(READING, Pretraining()),
)
BESIDE = (Stream(OTHER, 60, THEIRS),)
TEXT = (TextStream("task", {}, "masked", 123, 77, 0.3, 2.0),)


def mixed(mixture: Mixture) -> Phase:
    return Phase(mixture=mixture)


@pytest.mark.parametrize(("text", "expected"), [
    ("distill(members=4,temperature=3.5,weight=0.25)", Setup(teacher=Teacher(None, THEIRS, 4, 3.5, 0.25))),
    ("distill(teacher=big,members=1)", Setup(teacher=Teacher(BIG, THEIRS, 1, 2.0, 0.5))),
    ("multitask(source=other,temperature=7.0)", Setup(phases=(mixed(Mixture(BESIDE, "draw", temperature=7.0)),))),
    ("multitask(source=other,temperature=1.5,then_finetune=True)",
     Setup(phases=(mixed(Mixture(BESIDE, "draw", temperature=1.5)), Phase()))),
    ("hybrid(source=other,weight=0.3,last=0.9)",
     Setup(phases=(mixed(Mixture(BESIDE, "sum", weight=0.3, last=0.9)),))),
    ("hybrid-text(weight=0.2,last=0.6,tokens=123)",
     Setup(phases=(mixed(Mixture(TEXT, "sum", weight=0.2, last=0.6)),))),
    ("parameter-sharing(distinct=5)", Setup(ties=Ties(5))),
    ("augment(methods=('swap','neighbour'),copies=7,share=0.4)", Setup(augment=Augment(("swap", "neighbour"), 7, 0.4))),
    ("intermediate(source=other,budget=33,redraw=True)", Setup(weights=Checkpoint(OTHER, 33, THEIRS, shared=False))),
    ("peft(method=rslora,rate=4.0)", Setup(
        adapters=(Peft("rslora"),), phases=(Phase("adapters", replace(Recipe(), learning_rate=2e-4)),))),
])
def test_every_option_of_a_specification_reaches_the_setup(text: str, expected: Setup, registry: Registry) -> None:
    (strategy,) = specs.parse_strategy(text, registry)
    assert strategy.prepare(Setup(), OFFER) == expected
    assert type(strategy)().prepare(Setup(), OFFER) != expected  # which its defaults do not give


# --- machines -------------------------------------------------------------------------------------------------------


def test_dora_learns_a_magnitude_for_each_projection(
    cell_of: Callable[..., Cell], machine_of: Callable[..., Machine]
) -> None:
    names = {}
    for method in ("dora", "rslora"):
        setup = cell_of("text-classification", "encoder", f"peft(method={method})").condition.setup
        names[method] = machine_of("text-classification", "encoder", setup).adapters
    matrices = [name for name in names["dora"] if ".lora_A." in name]
    magnitudes = [name for name in names["dora"] if ".lora_magnitude_vector." in name]
    assert len(magnitudes) == len(matrices) > 0
    assert names["rslora"] == names["dora"] - {*magnitudes}


def test_rank_stabilised_lora_divides_by_the_root_of_the_rank(
    cell_of: Callable[..., Cell], machine_of: Callable[..., Machine]
) -> None:
    setup = cell_of("text-classification", "encoder", "peft(method=rslora)").condition.setup
    trunk: Any = machine_of("text-classification", "encoder", setup).trunk
    config = trunk.peft_config["default"]
    assert config.r > 1
    scales = [module.scaling["default"] for module in trunk.modules() if hasattr(module, "scaling")
              and hasattr(module, "lora_A")]
    assert scales
    assert scales == pytest.approx([config.lora_alpha / math.sqrt(config.r)] * len(scales))


class Layered(nn.Module):
    """A trunk whose hidden states are given."""

    def __init__(self, states: list[torch.Tensor]) -> None:
        super().__init__()
        self.config = SimpleNamespace(hidden_size=states[0].shape[-1], num_hidden_layers=len(states) - 1)
        self.states = states

    def forward(self, **given: Any) -> Any:
        return SimpleNamespace(last_hidden_state=self.states[-1], hidden_states=tuple(self.states))


def test_head_reads_as_many_layers_as_it_was_told(
    cell_of: Callable[..., Cell], machine_of: Callable[..., Machine], toys: ModuleType
) -> None:
    setup = cell_of("token-classification", "encoder", "feature-extraction(layers=2)").condition.setup
    assert setup.readout == Readout(layers=2)
    two, one = (machine_of("token-classification", "encoder", each).eval() for each in (setup, None))
    batch = one.form.encode(toys.examples("toy-names", 4)).batch(range(4), CPU)
    with torch.no_grad():
        assert not torch.allclose(two.hidden(batch), one.hidden(batch), atol=1e-3)
    draw = torch.Generator().manual_seed(0)
    states = [torch.randn(4, batch["input_ids"].shape[1], 32, generator=draw) for _ in range(4)]

    def read(last: int, altered: int) -> torch.Tensor:
        changed = [state.flip(1) if place == altered else state for place, state in enumerate(states)]
        return Machine(Layered(changed), one.form, 1, last).hidden(batch)

    for last in (1, 2, 3):
        moved = [not torch.allclose(read(last, at), read(last, altered=-1), atol=1e-3) for at in range(4)]
        assert moved == [at >= 4 - last for at in range(4)]


@pytest.mark.parametrize(("kind", "family"), [
    ("text-classification", "encoder"), ("text-generation", "encoder-decoder"),
])
def test_frozen_trunk_has_no_dropout_beside_streams_that_share_it(
    kind: str, family: str, machine_of: Callable[..., Machine], toys: ModuleType
) -> None:
    machine = machine_of(kind, family)
    trunk: Any = machine.trunk
    frozen = trunk.get_encoder() if machine.form.generates else trunk
    batch = machine.form.encode(toys.examples(toys.KINDS[kind], 4)).batch(range(4), CPU)
    given = {name: batch[name] for name in ("input_ids", "attention_mask")}
    beside = nn.Sequential(trunk, nn.Dropout())
    joint = Joint([machine, beside])
    for trainable in ("head", "all"):
        machine.release(trainable)
        joint.train()
        still = trainable == "head"
        assert any(module.training for module in frozen.modules()) is not still
        assert beside[1].training
        assert trunk.training or not machine.form.generates  # the decoder is trained
        with torch.no_grad():
            first, again = (frozen(**given).last_hidden_state for _ in range(2))
        assert torch.equal(first, again) is still
    joint.eval()
    assert not any(module.training for module in joint.modules())


# --- labels and teachers --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["text-classification", "text-regression"])
def test_student_is_taught_the_mean_of_its_teachers(
    kind: str, cell_of: Callable[..., Cell], machine_of: Callable[..., Machine], shop: Shop, place: Place,
    toys: ModuleType, without_stages: Callable[[], None],
) -> None:
    without_stages()
    temperature = 1.75
    cell = cell_of(kind, "encoder", f"distill(members=3,temperature={temperature})")
    data = cell_data(cell, shop.data(cell.condition.task))
    teachers = [machine_of(kind, "encoder").eval() for _ in range(3)]
    with torch.no_grad():
        for seed, machine in enumerate(teachers):
            machine.form = machine.form.fitted(data.train)
            assert machine.head is not None
            machine.head.weight.normal_(generator=torch.Generator().manual_seed(seed))

    def train(above: Cell, member: int) -> Any:
        assert above.condition.setup.teacher is None
        return SimpleNamespace(machine=teachers[member])

    given = lesson(cell, data, data.train, train, bench_for(shop, Clock()))
    form = machine_of(kind, "encoder").form.fitted(data.train)
    rows = list(range(len(data.train)))
    soft = with_lesson(form, form.encode(data.train), given).batch(rows, CPU)["soft"][:, 0]
    said = []
    for machine in teachers:
        encoded = machine.form.encode(data.train)
        if kind == "text-regression":
            numbers = predict(machine, data.train, encoded, "fp32", place)
            said.append(torch.tensor(numbers)[:, None])
        else:
            with torch.no_grad():
                scores = machine.form.scores(machine, encoded.batch(rows, CPU))
            said.append(torch.softmax(scores.double() / temperature, -1).float())
    assert not torch.allclose(said[0], said[1], atol=0.01)
    assert torch.allclose(soft, (said[0] + said[1] + said[2]) / 3, atol=1e-4)


def task_of(rows: tuple[Example, ...], held: tuple[Example, ...] = ()) -> TaskData:
    return TaskData(rows, (), held, ("a", "b"), ("a", "b"), {}, {})


def test_source_selects_on_no_text_of_the_targets_test(cell_of: Callable[..., Cell]) -> None:
    cell = cell_of("text-classification", "encoder", "finetune")
    source = task_of(tuple(TextExample(f"s{i}", f"text number {i}", "ab"[i % 2]) for i in range(40)))

    def drawn(held: tuple[Example, ...]) -> tuple[CellData, int]:
        return source_data(cell, source, CellData((), (), held, task_of((), held)))

    before, nothing = drawn((TextExample("t", "something else", "a"),))
    assert nothing == 0
    leaks = (*before.train[:3], *before.validation[:2])
    after, left_out = drawn(tuple(replace(e, id=f"t{e.id}") for e in leaks))
    assert left_out == 5
    assert after.validation == before.validation[2:]
    assert after.train == before.train[3:]


def test_validation_labels_are_as_wrong_as_training_labels(cell_of: Callable[..., Cell]) -> None:
    clean = cell_of("text-classification", "encoder", "finetune")
    clean = replace(clean, condition=replace(clean.condition, budget=400))
    noisy = replace(clean, condition=replace(clean.condition, label_noise=0.4))
    rows = tuple(TextExample(f"{i}", f"text {i}", "ab"[i % 2]) for i in range(400))
    right, wrong = (cell_data(cell, task_of(rows, rows[:9])) for cell in (clean, noisy))
    share = []
    for name in ("train", "validation", "test"):
        pairs = list(zip(getattr(right, name), getattr(wrong, name), strict=True))
        assert [a.id for a, _ in pairs] == [b.id for _, b in pairs]
        share.append(np.mean([a.label != b.label for a, b in pairs]))
    assert share == [pytest.approx(0.4, abs=0.1), pytest.approx(0.4, abs=0.15), 0.0]
    assert wrong.wrong_labels == round(share[0] * len(right.train) + share[1] * len(right.validation))
