"""The executable contract: what tlbench expects of a task or a strategy, as small named checks.

Public for plugin authors: `check_task(MyTask())` and `check_strategy(MyStrategy)` in a test, or
`tlbench check NAME`. A report says how many checks ran; none at all is a failure. No torch here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, get_args

from tlbench import toys
from tlbench.canonical import canonical_json, plain
from tlbench.declarations import FEWEST, name_fault, task_fault, version_fault
from tlbench.errors import UnsupportedError
from tlbench.kinds import Kind, kind_named
from tlbench.recipes import default_setup
from tlbench.setups import Family, Part, Setup
from tlbench.sources import DataSource, fingerprint
from tlbench.strategy import ExternalData, LearnerModel, Offer, Strategy
from tlbench.task import Budget, Example, Splits, Task, texts_of

IDENTITY_SECONDS = 1.0
_MODEL_TYPES: dict[Family, tuple[str, ...]] = {"encoder": ("bert",), "decoder": ("gpt2",),
                                               "encoder-decoder": ("t5", "bart")}
_BUDGETS: tuple[Budget, ...] = (10, 300, "full")


@dataclass(frozen=True)
class Report:
    """What the checks of one plugin found.

    Attributes:
        subject: What was checked, for example `task 'sst2'`.
        ran: Names of the checks that ran, in order.
        faults: One sentence each, beginning with the name of its check.
    """

    subject: str
    ran: tuple[str, ...]
    faults: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Return whether checks ran and none found a fault."""
        return bool(self.ran) and not self.faults

    def text(self) -> str:
        """Return one line per check and a summary."""
        faulty = {fault.partition(":")[0] for fault in self.faults}
        lines = [f"ok      {name}" for name in self.ran if name not in faulty]
        lines += [f"FAULT   {fault}" for fault in self.faults]
        return "\n".join([*lines, f"{self.subject}: {len(self.ran)} checks ran, {len(self.faults)} faults"])


Check = Callable[[], str | None]


def check_task(task: Task, source: DataSource | None = None) -> Report:
    """Check a task against its contract; loads its data twice.

    Args:
        task: The task.
        source: How it reaches files; by default the Hub and this machine's cache.
    """
    source = source or DataSource()
    loaded: list[Splits] = []
    checks: dict[str, Check] = {
        "task_declares_itself": lambda: task_fault(task),
        "task_metric_is_known": lambda: _metric(task),
        "task_identity_is_fast_json": lambda: _identity(task, source),
        "task_is_available": lambda: _available(task, source),
        "task_loads_twice_alike": lambda: _loads_twice(task, source, loaded),
    }
    on_data: dict[str, Callable[[Splits], str | None]] = {
        "task_splits_are_filled": _filled,
        "task_ids_are_unique": _unique,
        "task_examples_fit_kind": lambda splits: _fitting(splits, kind_named(task.kind)),
        "task_labels_can_be_learned": lambda splits: _labels(splits, kind_named(task.kind)),
        "task_budget_is_covered": lambda splits: _covered(splits, task, kind_named(task.kind)),
    }
    for name, check in on_data.items():
        checks[name] = lambda check=check: check(loaded[0]) if loaded else "no data were loaded"  # type: ignore[misc]
    return _run(f"task {getattr(task, 'name', type(task).__name__)!r}", checks)


def check_strategy(strategy: type[Strategy]) -> Report:
    """Check a strategy class against its contract: every kind, family and several budgets, on toy examples."""
    checks: dict[str, Check] = {"strategy_is_frozen_dataclass": lambda: _frozen(strategy)}
    if _attempt(checks["strategy_is_frozen_dataclass"]) is None:
        checks |= {
            "strategy_declares_itself": lambda: _strategy_declaration(strategy),
            "strategy_fields_are_json": lambda: _json_fields(strategy()),
            "strategy_unsupported_is_a_sentence": lambda: _sentences(strategy()),
            "strategy_prepare_is_pure": lambda: _pure(strategy()),
            "strategy_writes_what_it_declares": lambda: _writes(strategy()),
        }
        if "learner" in strategy.writes:
            checks["strategy_learner_predicts"] = lambda: _learner(strategy())
    return _run(f"strategy {getattr(strategy, 'name', strategy.__name__)!r}", checks)


def _run(subject: str, checks: Mapping[str, Check]) -> Report:
    found = {name: _attempt(check) for name, check in checks.items()}
    return Report(subject, tuple(found), tuple(f"{name}: {wrong}" for name, wrong in found.items() if wrong))


def _attempt(check: Check) -> str | None:
    """Return what a check found; an exception is a fault too."""
    try:
        return check()
    except Exception as error:
        return f"raised {type(error).__name__}: {' '.join(str(error).split())}"


# --- tasks


def _metric(task: Task) -> str | None:
    metrics = {metric.name: metric for metric in kind_named(task.kind).metrics}
    if task.metric and task.metric not in metrics:
        return f"metric is {task.metric!r}: use one of {', '.join(metrics)}"
    if task.metric and not metrics[task.metric].higher_is_better:
        return f"metric is {task.metric!r}, an error measure: use one where higher is better"
    return None


def _identity(task: Task, source: DataSource) -> str | None:
    start = time.perf_counter()
    first = canonical_json(dict(task.identity(source)))
    between = time.perf_counter()
    if canonical_json(dict(task.identity(source))) != first:
        return "identity differs from call to call: leave out times and paths"
    seconds = min(between - start, time.perf_counter() - between)  # the machine may have been busy
    if seconds > IDENTITY_SECONDS:
        return f"identity took {seconds:.1f} s: pin the data without reading them"
    return None


def _available(task: Task, source: DataSource) -> str | None:
    reason = task.unavailable(source)
    return None if reason is None else f"its data cannot be had here ({reason}), so nothing can be said about them"


def _loads_twice(task: Task, source: DataSource, loaded: list[Splits]) -> str | None:
    first, second = task.load(source), task.load(source)
    loaded.append(first)
    for (name, part), (_, again) in zip(_parts(first), _parts(second), strict=True):
        if fingerprint(part) != fingerprint(again):
            return f"two loads give different {name} examples: draw with a fixed seed, order by id"
    canonical_json(dict(first.notes))
    return None


def _parts(splits: Splits) -> list[tuple[str, Sequence[Example]]]:
    return [("training", splits.train), ("validation", splits.validation or ()), ("test", splits.test)]


def _filled(splits: Splits) -> str | None:
    if len(splits.train) < FEWEST or not splits.test:
        return (f"{len(splits.train)} training and {len(splits.test)} test examples: at least {FEWEST} and 1 "
                "are needed")
    return None


def _unique(splits: Splits) -> str | None:
    for name, part in _parts(splits):
        seen: set[str] = set()
        for example in part:
            if not isinstance(example.id, str) or not example.id or example.id in seen:
                return f"{name} id {example.id!r} is empty, no string, or given twice"
            seen.add(example.id)
    return None


def _fitting(splits: Splits, kind: Kind) -> str | None:
    for name, part in _parts(splits):
        for example in part:
            if not isinstance(example, kind.example):
                return f"{name} example {example.id!r} is a {type(example).__name__}: use {kind.example.__name__}"
            wrong = kind.check(example)
            if wrong:
                return f"{name} example {example.id!r}: {wrong}"
    return None


def _labels(splits: Splits, kind: Kind) -> str | None:
    answers = {canonical_json(kind.gold(example)) for example in splits.train}
    if len(answers) < 2:
        return "all training examples have the same answer: there is nothing to learn"
    unseen = sorted(set(kind.labels(splits.test)) - set(kind.labels(splits.train)))
    return f"label {unseen[0]!r} is in test but not in training, so no model can predict it" if unseen else None


def _covered(splits: Splits, task: Task, kind: Kind) -> str | None:
    held_out = {_normal(kind.text(example)) for example in splits.test}
    usable = sum(_normal(kind.text(example)) not in held_out for example in splits.train)
    if task.default_budget != "full" and usable < task.default_budget:
        return (f"default_budget is {task.default_budget}, but only {usable} training examples are no copy of a "
                "test example: lower it or give 'full'")
    return None if usable else "every training example is a copy of a test example"


def _normal(text: str) -> str:
    return " ".join(text.lower().split())


# --- strategies


def _frozen(strategy: type[Strategy]) -> str | None:
    params = getattr(strategy, "__dataclass_params__", None)
    if params is None or not params.frozen:
        return "it is not a frozen dataclass: put @dataclass(frozen=True) above it"
    strategy()
    return None


def _strategy_declaration(strategy: type[Strategy]) -> str | None:
    wrong = name_fault(getattr(strategy, "name", None)) or version_fault(strategy.version)
    if wrong:
        return wrong
    if strategy.external_data not in get_args(ExternalData):
        return f"external_data is {strategy.external_data!r}: use one of {', '.join(get_args(ExternalData))}"
    writes: Any = strategy.writes
    if not isinstance(writes, frozenset) or writes - set(get_args(Part)):
        return f"writes is {writes!r}: give a frozenset of {', '.join(get_args(Part))}"
    if not strategy.__doc__ or strategy.__doc__.startswith(f"{strategy.__name__}("):
        return "it has no docstring: name the source paper, what is held equal, what is added, outside data and cost"
    return None


def _json_fields(strategy: Strategy) -> str | None:
    for field in fields(strategy):  # type: ignore[arg-type]
        value = getattr(strategy, field.name)
        try:
            plain(value)
            hash(value)
        except TypeError as error:
            return f"field {field.name!r} is no immutable JSON value ({error}): use numbers, strings or tuples"
    return None


def _offers(strategy: Strategy) -> Iterator[tuple[Offer, Setup]]:
    """Yield every offer with the Setup that the strategy would be given."""
    for kind, template in toys.TEMPLATES.items():
        for budget in _BUDGETS:
            if not strategy.uses_model:
                yield Offer(kind, "toy", None, budget, template, corpora={"toy": {}}), default_setup(kind, None, budget)
                continue
            for family, model_types in _MODEL_TYPES.items():
                for model_type in model_types:
                    offer = Offer(kind, "toy", family, budget, template, toys.sources(model_type),
                                  toys.teachers(kind, model_type), {"toy": {}}, toys.reading(family, model_type),
                                  model_type)
                    yield offer, default_setup(kind, model_type, budget)


def _supported(strategy: Strategy) -> list[tuple[Offer, Setup]]:
    return [(offer, setup) for offer, setup in _offers(strategy) if strategy.unsupported(offer) is None]


def _sentences(strategy: Strategy) -> str | None:
    for offer, _ in _offers(strategy):
        reason = strategy.unsupported(offer)
        if reason is not None and (not isinstance(reason, str) or not reason.strip() or "\n" in reason):
            return f"unsupported returns {reason!r} for {offer.kind} x {offer.family}: give one sentence or None"
    return None if _supported(strategy) else "it supports no kind of task and no family at all"


def _pure(strategy: Strategy) -> str | None:
    for offer, setup in _offers(strategy):
        before = canonical_json(setup)
        first: Any = strategy.prepare(setup, offer)
        second = strategy.prepare(setup, offer)
        if not isinstance(first, Setup):
            return f"prepare returns a {type(first).__name__}: return a Setup"
        if canonical_json(setup) != before:
            return "prepare changes the Setup that it was given: use dataclasses.replace"
        if canonical_json(first) != canonical_json(second):
            return f"prepare gives two results for one Setup ({offer.kind}): no clock, no file, no randomness"
    return None


def _writes(strategy: Strategy) -> str | None:
    changed: set[str] = set()
    for offer, setup in _supported(strategy):
        before, after = _values(setup), _values(strategy.prepare(setup, offer))
        changed |= {part for part in get_args(Part) if before[part] != after[part]}
    undeclared, idle = sorted(changed - strategy.writes), sorted(strategy.writes - changed)
    if undeclared:
        return f"prepare changes the {undeclared[0]}, which writes does not declare: add it"
    return f"writes declares the {idle[0]}, which prepare never changes: drop it" if idle else None


def _values(setup: Setup) -> dict[str, str]:
    """Return each part of a Setup as text."""
    whole = ("learner", "weights", "adapters", "ties", "readout", "augment", "teacher")
    values: dict[str, Any] = {name: getattr(setup, name) for name in whole}
    values["recipe"] = [phase.recipe for phase in setup.phases]
    values["mixture"] = sorted({canonical_json(phase.mixture) for phase in setup.phases})
    values["stop"] = sorted({canonical_json(phase.stop) for phase in setup.phases})
    values["trainable"] = [(phase.trainable, phase.unfreeze) for phase in setup.phases]
    values["layer_decay"] = sorted({recipe.layer_decay for recipe in values["recipe"]})
    values["recipe"] = [replace(recipe, layer_decay=1.0) for recipe in values["recipe"]]
    return {name: canonical_json(value) for name, value in values.items()}


def _learner(strategy: Strategy) -> str | None:
    kinds = {offer.kind: strategy.prepare(setup, offer) for offer, setup in _supported(strategy)}
    for name, setup in kinds.items():
        if setup.learner.name != strategy.name:
            return f"the learner is called {setup.learner.name!r}: give it the strategy's name"
        wrong = _wrong_learner(strategy, setup, kind_named(name))
        if wrong:
            return f"{name}: {wrong}"
    return None


def _wrong_learner(strategy: Strategy, setup: Setup, kind: Kind) -> str | None:
    examples = toys.examples(kind.name)
    train, validation, test = examples[:30], examples[30:40], examples[40:]
    results, stages = [], toys.ToyStages()
    for given in (test, [_otherwise(example) for example in test]):
        try:
            learner: Any = strategy.learner(setup.learner.config, kind.name, 1)
        except UnsupportedError as error:
            return f"unsupported does not say that it cannot learn this ({error})"
        if not isinstance(learner, LearnerModel):
            return f"learner returns a {type(learner).__name__}: return a LearnerModel"
        if strategy.uses_model:
            learner.use(toys.ToyTextModel())
        if setup.learner.reads is not None:
            learner.read([text for example in train for text in texts_of(example)])
        learner.keep_in(stages)
        canonical_json(dict(learner.fit(train, validation)))
        results.append([canonical_json(kind.to_json(prediction)) for prediction in learner.predict(given)])
        canonical_json(dict(learner.notes()))
    if len(results[0]) != len(test):
        return f"{len(results[0])} predictions for {len(test)} examples: return one each, in order"
    if results[0] != results[1]:
        return "predictions change with the test answers or from run to run: predict from the input alone"
    return None


def _otherwise(example: Example) -> Example:
    """Return an example with the same input and another answer."""
    name, value = toys.other_answer(example)
    return replace(example, **{name: value})
