"""The executable contract: built-ins and toys keep it, and each way to break it is found and named."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from tlbench import (
    DataSource,
    Example,
    GenerationExample,
    Learner,
    LearnerModel,
    Offer,
    Phase,
    Prediction,
    Random,
    Setup,
    Splits,
    Stages,
    Strategy,
    Task,
    TextExample,
    cli,
    registry,
)
from tlbench.checks import Report, check_strategy, check_task
from tlbench.kinds import KINDS, kind_named
from tlbench.toys import SIZE, examples, other_answer

STRATEGIES = registry.load(strict=True).strategies
TOY_TASKS = ("toy-topic", "toy-score", "toy-names", "toy-where", "toy-copy")


def rows(count: int, prefix: str = "train", label: str | None = None) -> list[Example]:
    return [TextExample(f"{prefix}-{at}", f"{prefix} text {at}", label or ("a" if at % 2 else "b"))
            for at in range(count)]


class Fine(Task):
    """A task that keeps the contract; the broken ones differ from it in one thing."""

    name = "fine"
    kind = "text-classification"
    default_budget = 20

    def load(self, source: DataSource) -> Splits:
        return Splits(rows(30), rows(10, "test"))


class Dice(Fine):
    rolls = 0

    def load(self, source: DataSource) -> Splits:
        type(self).rolls += 1
        return Splits(rows(30, f"roll{self.rolls}"), rows(10, "test"))


class Raises(Fine):
    def load(self, source: DataSource) -> Splits:
        raise ValueError("two\nlines")


class Empty(Fine):
    def load(self, source: DataSource) -> Splits:
        return Splits(rows(30), [])


class Twins(Fine):
    def load(self, source: DataSource) -> Splits:
        return Splits([*rows(30), *rows(1)], rows(10, "test"))


class Stranger(Fine):
    def load(self, source: DataSource) -> Splits:
        return Splits([*rows(30), GenerationExample("odd", "source", ("target",))], rows(10, "test"))


class Unlabelled(Fine):
    def load(self, source: DataSource) -> Splits:
        return Splits([*rows(30), TextExample("odd", "text", " ")], rows(10, "test"))


class SingleClass(Fine):
    def load(self, source: DataSource) -> Splits:
        return Splits(rows(30, label="a"), rows(10, "test"))


class Unheard(Fine):
    def load(self, source: DataSource) -> Splits:
        return Splits(rows(30), rows(10, "test", "c"))


class Copies(Fine):
    def load(self, source: DataSource) -> Splits:
        return Splits(rows(30), [replace(row, id=f"test-{row.id}") for row in rows(25)])


class Moving(Fine):
    calls = 0

    def identity(self, source: DataSource) -> Mapping[str, Any]:
        type(self).calls += 1
        return {"time": self.calls}


class Opaque(Fine):
    def identity(self, source: DataSource) -> Mapping[str, Any]:
        return {"path": Path("/")}


class Away(Fine):
    def unavailable(self, source: DataSource) -> str | None:
        return "the server sleeps"


class Shouting(Fine):
    name = "Fine Task"


class Wrong(Fine):
    kind = "speech"


class Beyond(Fine):
    metric = "bleu"


class Errors(Fine):
    kind = "text-regression"
    metric = "mse"


class Listed(Fine):
    languages = ["en"]  # type: ignore[assignment]


class Unlikely(Fine):
    likelihood = True


def only(report: Report, check: str, text: str) -> None:
    """Hold that a report's first fault is that of one check, in one sentence."""
    assert not report.ok
    assert report.faults[0].startswith(f"{check}: "), report.faults
    assert text in report.faults[0]
    assert "\n" not in report.faults[0]


@pytest.mark.parametrize("name", STRATEGIES)
def test_builtin_strategy_keeps_the_contract(name: str) -> None:
    report = check_strategy(STRATEGIES[name])
    assert report.faults == ()
    assert len(report.ran) >= 6
    assert ("strategy_learner_predicts" in report.ran) == ("learner" in STRATEGIES[name].writes)


@pytest.mark.parametrize("name", TOY_TASKS)
def test_toy_task_keeps_the_contract(name: str, registry: registry.Registry, source: DataSource) -> None:
    report = check_task(registry.task(name), source)
    assert report.faults == ()
    assert len(report.ran) == 10
    assert f"task {name!r}: 10 checks ran, 0 faults" in report.text()


def test_fine_task_keeps_the_contract(source: DataSource) -> None:
    assert check_task(Fine(), source).ok


@pytest.mark.parametrize(("task", "check", "text"), [
    (Dice(), "task_loads_twice_alike", "two loads give different training examples"),
    (Raises(), "task_loads_twice_alike", "raised ValueError: two lines"),
    (Empty(), "task_splits_are_filled", "0 test examples"),
    (Twins(), "task_ids_are_unique", "training id 'train-0' is empty, no string, or given twice"),
    (Stranger(), "task_examples_fit_kind", "'odd' is a GenerationExample: use TextExample"),
    (Unlabelled(), "task_examples_fit_kind", "training example 'odd': its label is empty"),
    (SingleClass(), "task_labels_can_be_learned", "the same answer"),
    (Unheard(), "task_labels_can_be_learned", "label 'c' is in test but not in training"),
    (Copies(), "task_budget_is_covered", "only 5 training examples are no copy"),
    (Moving(), "task_identity_is_fast_json", "differs from call to call"),
    (Opaque(), "task_identity_is_fast_json", "has no canonical form"),
    (Away(), "task_is_available", "the server sleeps"),
    (Shouting(), "task_declares_itself", "name is 'Fine Task': use lower-case letters"),
    (Wrong(), "task_declares_itself", "kind is 'speech': use one of text-classification"),
    (Beyond(), "task_metric_is_known", "metric is 'bleu': use one of accuracy"),
    (Errors(), "task_metric_is_known", "metric is 'mse'"),
    (Listed(), "task_declares_itself", "languages is ['en']: give a tuple"),
    (Unlikely(), "task_declares_itself", "likelihood is True: give True or False, and True for text-generation only"),
], ids=lambda value: type(value).__name__ if isinstance(value, Task) else "")
def test_broken_task_is_found(task: Task, check: str, text: str, source: DataSource) -> None:
    only(check_task(task, source), check, text)


def test_data_that_cannot_be_loaded_fail_every_check_on_them(source: DataSource) -> None:
    report = check_task(Raises(), source)
    assert len(report.faults) == 6
    assert len(report.ran) == 10


@dataclass(frozen=True)
class Still(Strategy):
    """Change nothing; the broken ones differ from it in one thing. Outside data: none."""

    name = "still"

    def prepare(self, setup: Setup, offer: Offer) -> Setup:
        return setup


@dataclass(frozen=True)
class Undeclared(Still):
    """Change the weights without saying so."""

    def prepare(self, setup: Setup, offer: Offer) -> Setup:
        return replace(setup, weights=Random())


@dataclass(frozen=True)
class Idle(Still):
    """Declare a change that never comes."""

    writes = frozenset({"adapters"})


@dataclass(frozen=True)
class Counting(Still):
    """Give another answer at each call."""

    calls: tuple[int, ...] = ()
    writes = frozenset({"recipe"})
    count = [0]

    def prepare(self, setup: Setup, offer: Offer) -> Setup:
        self.count[0] += 1
        return replace(setup, phases=tuple(
            replace(phase, recipe=replace(phase.recipe, min_steps=self.count[0])) for phase in setup.phases))


@dataclass(frozen=True)
class Meddling(Still):
    """Change the Setup that it was given."""

    writes = frozenset({"trainable"})

    def prepare(self, setup: Setup, offer: Offer) -> Setup:
        object.__setattr__(setup, "phases", (Phase(trainable="head"),) * (len(setup.phases) + 1))
        return setup


@dataclass(frozen=True)
class Forgetful(Still):
    """Return nothing."""

    def prepare(self, setup: Setup, offer: Offer) -> Setup:
        return None  # type: ignore[return-value]


@dataclass
class Thawed(Strategy):
    """Be a dataclass that is not frozen."""

    name = "thawed"

    def prepare(self, setup: Setup, offer: Offer) -> Setup:
        return setup


@dataclass(frozen=True)
class Demanding(Still):
    """Ask for a value."""

    rate: float


@dataclass(frozen=True)
class Mutable(Still):
    """Hold a list."""

    rates: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Silent(Still):
    pass


@dataclass(frozen=True)
class Refusing(Still):
    """Support nothing."""

    def unsupported(self, offer: Offer) -> str | None:
        return "not today"


@dataclass(frozen=True)
class Mumbling(Still):
    """Refuse without a word."""

    def unsupported(self, offer: Offer) -> str | None:
        return "" if offer.kind == "text-generation" else None


@dataclass(frozen=True)
class Scribbling(Still):
    """Declare a part that does not exist."""

    writes = frozenset({"optimizer"})  # type: ignore[arg-type]


class Echo(LearnerModel):
    """Repeat the test's own answers, or fewer of them."""

    def __init__(self, keep: int | None = None, constant: bool = False) -> None:
        self.keep, self.constant = keep, constant

    def fit(self, train: Sequence[Example], validation: Sequence[Example]) -> Mapping[str, Any]:
        return {}

    def predict(self, examples: Sequence[Example]) -> list[Prediction]:
        return ["good" if self.constant else getattr(e, "label", "") for e in examples][: self.keep]


@dataclass(frozen=True)
class Peeking(Still):
    """Read the test's answers."""

    uses_model = False
    writes = frozenset({"learner"})

    def unsupported(self, offer: Offer) -> str | None:
        return None if offer.kind == "text-classification" else "classes only"

    def prepare(self, setup: Setup, offer: Offer) -> Setup:
        return replace(setup, learner=Learner(self.name))

    def learner(self, config: Mapping[str, Any], kind: str, seed: int) -> LearnerModel:
        return Echo()


@dataclass(frozen=True)
class Lazy(Peeking):
    """Answer half of the questions."""

    def learner(self, config: Mapping[str, Any], kind: str, seed: int) -> LearnerModel:
        return Echo(5, constant=True)


@dataclass(frozen=True)
class Absent(Peeking):
    """Write a learner and provide none."""

    def learner(self, config: Mapping[str, Any], kind: str, seed: int) -> LearnerModel:
        return Strategy.learner(self, config, kind, seed)


@dataclass(frozen=True)
class Misnamed(Peeking):
    """Name somebody else's learner."""

    def prepare(self, setup: Setup, offer: Offer) -> Setup:
        return replace(setup, learner=Learner("linear"))


class Table(Echo):
    """Keep an answer in the stages: as a number, as an object, or only in the process that makes it."""

    stages: Stages

    def __init__(self, way: str) -> None:
        super().__init__(constant=True)
        self.way, self.count = way, 0

    def keep_in(self, stages: Stages) -> None:
        self.stages = stages

    def fit(self, train: Sequence[Example], validation: Sequence[Example]) -> Mapping[str, Any]:
        arrays, _ = self.stages.get_or_make({"examples": len(train), "way": self.way}, self._counted)
        self.count = self.count if self.way == "forgotten" else int(arrays["count"])
        return {}

    def _counted(self) -> Mapping[str, Any]:
        self.count = 7
        return {"count": np.array(7, dtype=object if self.way == "object" else int)}

    def predict(self, examples: Sequence[Example]) -> list[Prediction]:
        return [f"class {self.count}"] * len(examples)


@dataclass(frozen=True)
class Keeping(Peeking):
    """Keep a number for other cells."""

    way = "number"

    def learner(self, config: Mapping[str, Any], kind: str, seed: int) -> LearnerModel:
        return Table(self.way)


@dataclass(frozen=True)
class Wrapped(Keeping):
    """Keep an object."""

    way = "object"


@dataclass(frozen=True)
class Unkept(Keeping):
    """Keep what is not asked for again."""

    way = "forgotten"


def test_fine_strategy_keeps_the_contract() -> None:
    assert check_strategy(Still).ok
    assert check_strategy(Keeping).ok


@pytest.mark.parametrize(("strategy", "check", "text"), [
    (Undeclared, "strategy_writes_what_it_declares", "changes the weights, which writes does not declare"),
    (Idle, "strategy_writes_what_it_declares", "declares the adapters, which prepare never changes"),
    (Counting, "strategy_prepare_is_pure", "two results for one Setup"),
    (Meddling, "strategy_prepare_is_pure", "changes the Setup that it was given"),
    (Forgetful, "strategy_prepare_is_pure", "returns a NoneType: return a Setup"),
    (Thawed, "strategy_is_frozen_dataclass", "put @dataclass(frozen=True) above it"),
    (Demanding, "strategy_is_frozen_dataclass", "missing 1 required positional argument: 'rate'"),
    (Mutable, "strategy_fields_are_json", "field 'rates' is no immutable JSON value"),
    (Silent, "strategy_declares_itself", "it has no docstring"),
    (Refusing, "strategy_unsupported_is_a_sentence", "supports no kind of task"),
    (Mumbling, "strategy_unsupported_is_a_sentence", "returns '' for text-generation"),
    (Scribbling, "strategy_declares_itself", "'optimizer'"),
    (Peeking, "strategy_learner_predicts", "predictions change with the test answers"),
    (Lazy, "strategy_learner_predicts", "5 predictions for 20 examples"),
    (Absent, "strategy_learner_predicts", "does not provide one"),
    (Misnamed, "strategy_learner_predicts", "the learner is called 'linear'"),
    (Wrapped, "strategy_learner_predicts", "array 'count' holds objects"),
    (Unkept, "strategy_learner_predicts", "or from run to run"),
], ids=lambda value: value.__name__ if isinstance(value, type) else "")
def test_broken_strategy_is_found(strategy: type[Strategy], check: str, text: str) -> None:
    only(check_strategy(strategy), check, text)


def test_no_check_at_all_is_a_failure() -> None:
    assert not Report("task 'x'", (), ()).ok
    assert "0 checks ran" in Report("task 'x'", (), ()).text()


@pytest.mark.parametrize("kind", KINDS)
def test_toy_examples_fit_their_kind(kind: str) -> None:
    made = examples(kind)
    assert len({example.id for example in made}) == SIZE
    for example in made:
        assert kind_named(kind).check(example) is None
        name, value = other_answer(example)
        other = replace(example, **{name: value})
        assert kind_named(kind).gold(other) != kind_named(kind).gold(example)
        assert kind_named(kind).text(other) == kind_named(kind).text(example)


@pytest.mark.parametrize(("name", "code", "line"), [
    ("toy-topic", 0, "task 'toy-topic': 10 checks ran, 0 faults"),
    ("lora", 0, "strategy 'lora': 6 checks ran, 0 faults"),
    ("short", 1, "FAULT   strategy_writes_what_it_declares: prepare changes the recipe"),
])
def test_check_command_reports_and_exits(name: str, code: int, line: str, toys: ModuleType, tmp_path: Path,
                                         monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("TLBENCH_CACHE", str(tmp_path))
    monkeypatch.setattr("sys.argv", ["tlbench", "check", name, "--plugin", str(toys.__file__)])
    try:
        cli.main()
        ended = 0
    except SystemExit as end:
        ended = int(end.code or 0)
    assert ended == code
    assert line in capsys.readouterr().out
