"""From what a user asks for to the list of cells: names resolved, combinations checked, keys known. No torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from tlbench.errors import UserError
from tlbench.grid import Cell, Condition, PrecisionPolicy, StrategyRef
from tlbench.kinds import kind_named
from tlbench.model import Architecture, Model
from tlbench.recipes import default_pretraining, default_setup
from tlbench.registry import Origin, Registry, known
from tlbench.setups import ModelRef, Pretrained, Pretraining
from tlbench.sources import DataSource
from tlbench.specs import parse_strategy, resolve, strategy_ref, unsupported
from tlbench.strategy import Offer, SourceOffer, Strategy, TeacherOffer
from tlbench.task import Budget, Task, TaskRef

DEFAULT_STRATEGIES = ("floor", "linear", "scratch", "finetune", "feature-extraction", "lora")


@dataclass(frozen=True)
class Request:
    """What a user asks for, as names.

    Attributes:
        tasks: Task names; `all` is every task of the suite and of every further plugin.
        strategies: Strategy specifications, `name(field=value)+name`.
        models: Model names, Hub ids or folders; empty takes the default model of each kind.
        budgets: Label budgets; empty takes each task's default.
        replicates: Number of replicates.
        suite: `embedded`, `applications` or `public`.
        precision: Precision policy.
        sources: Source tasks of the strategies that have one: each is run once with each of these; `all` is every
            task that the model can learn of the target's suite. Empty leaves what the strategies say.
    """

    tasks: tuple[str, ...] = ("all",)
    strategies: tuple[str, ...] = DEFAULT_STRATEGIES
    models: tuple[str, ...] = ()
    budgets: tuple[Budget, ...] = ()
    replicates: int = 3
    suite: str = "embedded"
    precision: PrecisionPolicy = "auto"
    sources: tuple[str, ...] = ()


@dataclass(frozen=True)
class Plan:
    """The cells of a request.

    Attributes:
        cells: In the order in which they run.
        unsupported: Key of a cell to the reason why the combination has no meaning.
        unavailable: Task or model name to the reason why it is left out.
    """

    cells: tuple[Cell, ...]
    unsupported: dict[str, str] = field(default_factory=dict)
    unavailable: dict[str, str] = field(default_factory=dict)


def make_plan(request: Request, registry: Registry, source: DataSource) -> Plan:
    """Resolve a request to cells.

    Raises:
        UserError: an unknown name, an impossible composition, a budget or a number of replicates below 1, or
            nothing left to run.
    """
    _check_numbers(request)
    unavailable: dict[str, str] = {}
    architectures: dict[str, Architecture | None] = {}
    # Wrong names show before any data are read.
    strategies = _with_sources([parse_strategy(text, registry) for text in dict.fromkeys(request.strategies)],
                               request, registry)
    models = [model_named(name, registry) for name in request.models]
    for model in models:
        _architecture(model, architectures, source, unavailable)
    tasks = _tasks(request, registry, source, unavailable)
    refs = {task.name: _task_ref(task, registry, source) for task in tasks}
    reasons: dict[str, str] = {}
    conditions: dict[str, tuple[Condition, str | None]] = {}
    for task in tasks:
        chosen = models or _default_models(task.kind, registry)
        for parts in strategies:
            for named in chosen if any(part.uses_model for part in parts) else [None]:
                for budget in request.budgets or (task.default_budget,):
                    architecture = _architecture(named, architectures, source, unavailable) if named else None
                    if named and not architecture:
                        continue
                    ref = strategy_ref(parts, registry)
                    family = architecture.family if architecture else None
                    offered = Sources(task.suite, architecture, registry, source)
                    teachers = Teachers(task.kind, budget, architecture, registry, source)
                    offer = Offer(
                        task.kind, task.name, family, budget, task.template, offered, teachers,
                        Corpora(task.suite, source), _reading(architecture),
                    )
                    condition, reason = _condition(refs[task.name], named, architecture, parts, ref, offer, request)
                    conditions[condition.title] = (condition, reason)
    cells = _ordered([c for c, _ in conditions.values()], request.replicates)
    for cell in cells:
        reason = conditions[cell.condition.title][1]
        if reason:
            reasons[cell.key] = reason
    if not cells:
        why = "; ".join(f"{name}: {reason}" for name, reason in unavailable.items())
        raise UserError(f"nothing is left to run ({why or 'no task was named'}): name an available task with --tasks")
    return Plan(tuple(cells), reasons, unavailable)


def _check_numbers(request: Request) -> None:
    if request.replicates < 1:
        raise UserError(f"--replicates is {request.replicates}: give 1 or more (3 or more for a verdict)")
    for budget in request.budgets:
        if budget != "full" and budget < 10:
            raise UserError(f"--budgets holds {budget}: give 10 labels or more, or 'full'")


def _tasks(request: Request, registry: Registry, source: DataSource, unavailable: dict[str, str]) -> list[Task]:
    """Return the tasks that are named and can be loaded; one that is named outright must be available."""
    suites = sorted({task.suite for task in registry.tasks.values()} - {"plugin"})
    if request.suite not in suites:
        raise UserError(f"suite {request.suite!r} is not known: use one of {', '.join(suites)}")
    names: dict[str, bool] = {}
    for name in request.tasks:
        if name == "all":
            names |= {
                t.name: False
                for t in registry.tasks.values()
                if t.suite in (request.suite, "plugin") and t.name not in names
            }
        else:
            names[name] = True
    chosen = []
    for task, outright in [(registry.task(name), outright) for name, outright in names.items()]:
        name = task.name
        reason = _why_not(task, registry, source)
        if reason and outright:
            raise UserError(f"task {name!r} is not available: {reason}")
        if reason:
            unavailable[name] = reason
        else:
            chosen.append(task)
    return chosen


class Sources(Mapping[str, SourceOffer]):
    """The tasks that a strategy may learn from, for one target and one architecture; read when asked for."""

    def __init__(
        self, suite: str, architecture: Architecture | None, registry: Registry, source: DataSource
    ) -> None:
        """Remember where to look."""
        self._suite, self._architecture, self._registry, self._source = suite, architecture, registry, source

    def __getitem__(self, name: str) -> SourceOffer:
        """Return any registered task as a source.

        Raises:
            KeyError: the model cannot learn it, or it is not available here.
            UserError: there is no such task.
        """
        task = self._registry.task(name)
        if not self._learnable(task):
            raise KeyError(name)
        assert self._architecture is not None
        setup = default_setup(task.kind, self._architecture.model_type, task.default_budget)
        return SourceOffer(_task_ref(task, self._registry, self._source), task.default_budget, setup)

    def __iter__(self) -> Iterator[str]:
        """Return the names of the suite's tasks that the model can learn, sorted."""
        tasks = self._registry.tasks.values()
        return iter(sorted(t.name for t in tasks if t.suite == self._suite and self._learnable(t)))

    def __len__(self) -> int:
        """Return their number."""
        return sum(1 for _ in self)

    def _learnable(self, task: Task) -> bool:
        family = self._architecture.family if self._architecture else None
        if family is None or (family == "encoder" and task.kind == "text-generation"):
            return False
        return not _why_not(task, self._registry, self._source)


class Teachers(Mapping[str, TeacherOffer]):
    """The models that may teach, for one kind of task and budget; read when asked for."""

    def __init__(
        self, kind: str, budget: Budget, own: Architecture | None, registry: Registry, source: DataSource
    ) -> None:
        """Remember where to look; `own` is the architecture of the model at hand."""
        self._kind, self._budget, self._own, self._registry, self._source = kind, budget, own, registry, source

    def __getitem__(self, name: str) -> TeacherOffer:
        """Return a registered model or a Hub id as a teacher; the empty name is the model at hand.

        Raises:
            KeyError: it cannot learn this kind.
            UserError: there is no such model here.
        """
        model = model_named(name, self._registry) if name else None
        architecture = model.architecture(self._source.offline) if model else self._own
        if architecture is None or (architecture.family == "encoder" and self._kind == "text-generation"):
            raise KeyError(name)
        setup = default_setup(self._kind, architecture.model_type, self._budget)
        return TeacherOffer(_model_ref(model, architecture) if model else None, setup)

    def __iter__(self) -> Iterator[str]:
        """Return the names of the registered models."""
        return iter(sorted(self._registry.models))

    def __len__(self) -> int:
        """Return their number."""
        return len(self._registry.models)


class Corpora(Mapping[str, Mapping[str, Any]]):
    """The unlabelled text of a suite's domain; its identity is read when asked for."""

    def __init__(self, suite: str, source: DataSource) -> None:
        """Remember where to look."""
        self._names = ("embedded",) if suite in ("embedded", "applications") else ()
        self._source = source

    def __getitem__(self, name: str) -> Mapping[str, Any]:
        """Return what pins the rows of a corpus.

        Raises:
            KeyError: it is not of this suite's domain.
        """
        if name not in self._names:
            raise KeyError(name)
        from tlbench.corpora import apidoc, interface

        return {**apidoc.identity(self._source), **interface.identity(self._source)}

    def __iter__(self) -> Iterator[str]:
        """Return the names."""
        return iter(self._names)

    def __len__(self) -> int:
        """Return their number."""
        return len(self._names)


def _reading(architecture: Architecture | None) -> tuple[Pretraining, Pretraining] | None:
    """Return how a model is pre-trained further, and from random weights."""
    if architecture is None:
        return None
    family, model_type = architecture.family, architecture.model_type
    return default_pretraining(family, model_type, True), default_pretraining(family, model_type, False)


def _with_sources(
    strategies: Sequence[tuple[Strategy, ...]], request: Request, registry: Registry
) -> list[tuple[Strategy, ...]]:
    """Return the strategies, those that have a source once with each of the request's sources."""
    if not request.sources:
        return list(strategies)
    suite = [task.name for task in registry.tasks.values() if task.suite in (request.suite, "plugin")]
    names = dict.fromkeys(n for name in request.sources for n in (suite if name == "all" else [name]))
    for name in names:
        registry.task(name)
    made = []
    for parts in strategies:
        if not any(_has_source(part) for part in parts):
            made.append(parts)
            continue
        made += [
            tuple(replace(part, source=name) if _has_source(part) else part for part in parts)  # type: ignore[type-var]
            for name in names
        ]
    return made


def _has_source(part: Strategy) -> bool:
    return any(field.name == "source" for field in fields(part))  # type: ignore[arg-type]


def _why_not(task: Task, registry: Registry, source: DataSource) -> str | None:
    """Return why a task cannot be used here; a fault of its plugin is a reason too and stops nothing else."""
    try:
        reason = task.unavailable(source)
        if not reason:
            _task_ref(task, registry, source)
    except UserError as error:
        return str(error)
    except Exception as error:
        origin = registry.origin("tasks", task.name).title
        return f"its plugin {origin} is faulty ({type(error).__name__}: {error}): correct the plugin"
    return reason


def _task_ref(task: Task, registry: Registry, source: DataSource) -> TaskRef:
    usual, written = kind_named(task.kind), task.languages[-1] if task.languages else ""
    kind = usual.spoken(written)
    if task.metric and task.metric not in {metric.name for metric in kind.metrics}:
        known({metric.name: metric for metric in kind.metrics}, task.metric, f"metric of task {task.name!r}")
    metric = kind.metric(task.metric)
    if not metric.higher_is_better:
        raise UserError(
            f"task {task.name!r} names {metric.name!r} as its primary metric, but errors are never "
            "primary: choose one where higher is better"
        )
    return TaskRef(
        task.name,
        task.version,
        task.kind,
        metric.name,
        task.test_cap,
        dict(task.identity(source)),
        registry.origin("tasks", task.name).source,
        "" if kind is usual else written,
    )


def model_named(name: str, registry: Registry) -> Model:
    """Return a registered model, or make one of a folder or a Hub id."""
    if name in registry.models:
        return registry.models[name]
    path = Path(name).expanduser()
    if path.is_dir():
        model = Model(name=path.resolve().name, reference=str(path.resolve()))
    elif name.startswith(("package:", ".", "/", "~")) or "/" in name:
        model = Model(name=name, reference=name)
    else:
        model = known(registry.models, name, "model")
    other = registry.models.setdefault(model.name, model)
    if other != model:
        raise UserError(
            f"model name {model.name!r} of {model.reference!r} is already taken by {other.reference!r}: rename the "
            "folder"
        )
    registry.origins["models", model.name] = Origin("given with --models")
    return model


def _default_models(kind: str, registry: Registry) -> list[Model]:
    """Return the models that stand for a kind in a run that names none."""
    return [model for model in registry.models.values() if kind in model.kinds]


def _architecture(
    model: Model, cache: dict[str, Architecture | None], source: DataSource, unavailable: dict[str, str]
) -> Architecture | None:
    """Return a model's architecture, read once; a default model that is not installed is left out with a reason."""
    if model.name not in cache:
        try:
            cache[model.name] = model.architecture(source.offline)
        except UserError as error:
            if not model.kinds:
                raise
            cache[model.name] = None
            unavailable[model.name] = str(error)
    return cache[model.name]


def _condition(
    task: TaskRef,
    model: Model | None,
    architecture: Architecture | None,
    parts: Sequence[Strategy],
    ref: StrategyRef,
    offer: Offer,
    request: Request,
) -> tuple[Condition, str | None]:
    model_type = architecture.model_type if architecture else None
    setup, reason = resolve(parts, offer, model_type), unsupported(parts, offer)
    model_ref = None
    if model and architecture:
        model_ref = _model_ref(model, architecture)
    condition = Condition(task, model_ref, ref, setup, offer.budget, request.precision)
    if not reason and model and architecture and not architecture.weights and isinstance(setup.weights, Pretrained):
        reason = (
            f"model {model.name!r} has no safetensors weights (pickled ones are refused, since loading them runs "
            "code), so it can only start at random"
        )
    return condition, reason


def _model_ref(model: Model, architecture: Architecture) -> ModelRef:
    return ModelRef(model.name, architecture.family, architecture.model_type, model.pooling, architecture.identity)


def _ordered(conditions: Sequence[Condition], replicates: int) -> list[Cell]:
    """Order cells so that the table fills early: model-free rows first, then replicate by replicate."""
    quick = [c for c in conditions if c.model is None]
    trained = [c for c in conditions if c.model is not None]
    cells = [Cell(c, r) for c in quick for r in range(replicates)]
    return cells + [Cell(c, r) for r in range(replicates) for c in trained]
