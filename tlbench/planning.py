"""From what a user asks for to the list of cells: names resolved, combinations checked, keys known. No torch."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import get_args

from tlbench.canonical import plain
from tlbench.errors import UserError
from tlbench.grid import Cell, Condition, PrecisionPolicy
from tlbench.model import Architecture, Model
from tlbench.noise import reason_against
from tlbench.offers import offer_of
from tlbench.references import model_named, model_ref, task_ref, why_not
from tlbench.registry import Registry
from tlbench.setups import Pretrained
from tlbench.sources import DataSource
from tlbench.specs import idle, nature, parse_strategy, resolve, rests, strategy_ref, unsupported
from tlbench.strategy import Offer, Strategy
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
        sources: Source tasks of the strategies that have one: each is run once with each of these, and the same
            composition without it once, which the transfer matrix compares with; `all` is every task that the model
            can learn of `suite` and of further plugins. Empty leaves what the strategies say.
        label_noise: Share of each task's training and validation labels that is made wrong, from 0 to below 1.
        ablate: Run each strategy once more without each of its parts, so that the board can say what the part adds;
            without its only part a strategy is plain fine-tuning. A part stays in if the row without it would be
            another method: another learner, or pre-trained weights in place of random ones.
    """

    tasks: tuple[str, ...] = ("all",)
    strategies: tuple[str, ...] = DEFAULT_STRATEGIES
    models: tuple[str, ...] = ()
    budgets: tuple[Budget, ...] = ()
    replicates: int = 3
    suite: str = "embedded"
    precision: PrecisionPolicy = "auto"
    sources: tuple[str, ...] = ()
    label_noise: float = 0.0
    ablate: bool = False


def budget_of(given: Budget | str) -> Budget:
    """Return a label budget, `full` or a whole number that may be written as text.

    Raises:
        UserError: it is neither.
    """
    if given == "full" or (isinstance(given, int) and not isinstance(given, bool)):
        return given
    try:
        return int(str(given))
    except ValueError:
        raise UserError(f"budgets hold {given!r}: give whole numbers or 'full'") from None


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

    def architecture(model: Model) -> Architecture | None:
        return _architecture(model, architectures, source, unavailable)

    conditions: dict[str, tuple[Condition, str | None]] = {}
    for task in tasks:
        chosen = models or _default_models(task.kind, registry)
        made = _conditions(task, chosen, strategies, request, architecture, registry, source)
        conditions |= {condition.title: (condition, reason) for condition, reason in made}
    _check_weights([reason for _, reason in conditions.values()])
    cells = _ordered([condition for condition, _ in conditions.values()], request.replicates)
    if not cells:
        why = "; ".join(f"{name}: {reason}" for name, reason in unavailable.items())
        raise UserError(f"nothing is left to run ({why or 'no task was named'}): name an available task with --tasks")
    reasons = {cell.key: reason for cell in cells if (reason := conditions[cell.condition.title][1])}
    return Plan(tuple(cells), reasons, unavailable)


def _conditions(
    task: Task,
    models: Sequence[Model],
    strategies: Sequence[tuple[Strategy, ...]],
    request: Request,
    architecture_of: Callable[[Model], Architecture | None],
    registry: Registry,
    source: DataSource,
) -> Iterator[tuple[Condition, str | None]]:
    """Yield the conditions of a task, each with the reason why it has no meaning, or `None`."""
    task_id = task_ref(task, registry, source)
    for parts in strategies:
        for model in models if any(part.uses_model for part in parts) else [None]:
            architecture = architecture_of(model) if model else None
            if model and not architecture:
                continue
            for budget in request.budgets or (task.default_budget,):
                offer = offer_of(task, architecture, budget, registry, source)
                whole, reason = _condition(task_id, model, architecture, parts, offer, request, registry)
                yield whole, reason
                for rest in _counterparts(parts, request, registry) if not reason else ():
                    made = _condition(task_id, model, architecture, rest, offer, request, registry)
                    if nature(plain(made[0].setup)) == nature(plain(whole.setup)):
                        yield made


def _counterparts(parts: tuple[Strategy, ...], request: Request, registry: Registry) -> list[tuple[Strategy, ...]]:
    """Return what the board compares a composition with: it without each part, or only without what has a source."""
    return [
        rest for part, rest in rests(parts, registry) if request.ablate or (request.sources and _has_source(part))
    ]


def _check_numbers(request: Request) -> None:
    if request.replicates < 1:
        raise UserError(f"--replicates is {request.replicates}: give 1 or more (3 or more for a verdict)")
    if request.precision not in get_args(PrecisionPolicy):
        raise UserError(f"--precision is {request.precision!r}: give {', '.join(get_args(PrecisionPolicy))}")
    if not 0 <= request.label_noise < 1:
        raise UserError(f"--label-noise is {request.label_noise:g}: give a share of the labels, from 0 to below 1")
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
        reason = why_not(task, registry, source)
        if reason and outright:
            raise UserError(f"task {name!r} is not available: {reason}")
        if reason:
            unavailable[name] = reason
        else:
            chosen.append(task)
    return chosen


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
    if not any(_has_source(part) for parts in strategies for part in parts):
        raise UserError("--sources names source tasks, but no strategy here learns from one: add intermediate, "
                        "multitask or hybrid to --strategies, or leave --sources out")
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
    offer: Offer,
    request: Request,
    registry: Registry,
) -> tuple[Condition, str | None]:
    ref = strategy_ref(parts, registry)
    try:
        setup = resolve(parts, offer, architecture)
        reason = unsupported(parts, offer) or idle(setup, offer.kind)
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"strategy {ref.name!r} cannot be prepared for task {task.name!r} ({type(error).__name__}: "
                        f"{error}): correct its plugin ({_origins(parts, registry)})") from error
    reference = model_ref(model, architecture) if model and architecture else None
    condition = Condition(
        task, reference, ref, setup, offer.budget, request.precision, label_noise=request.label_noise
    )
    if not reason and request.label_noise:
        reason = reason_against(task.kind)
    if not reason and model and architecture and not architecture.weights and isinstance(setup.weights, Pretrained):
        reason = (
            f"model {model.name!r} {_NO_WEIGHTS} (pickled ones are refused, since loading them runs code), so it can "
            "only start at random"
        )
    return condition, reason


def _origins(parts: Sequence[Strategy], registry: Registry) -> str:
    return ", ".join(dict.fromkeys(registry.origin("strategies", part.name).title for part in parts))


_NO_WEIGHTS = "has no safetensors weights"


def _check_weights(reasons: Collection[str | None]) -> None:
    """Refuse a request of which nothing can run because a model lacks its weights.

    Raises:
        UserError: it is so.
    """
    if reasons and all(reason and _NO_WEIGHTS in reason for reason in reasons):
        raise UserError(f"{next(iter(reasons))}: name a strategy that does, or give the model's weights")


def _ordered(conditions: Sequence[Condition], replicates: int) -> list[Cell]:
    """Order cells so that the table fills early: model-free rows first, then replicate by replicate."""
    quick = [c for c in conditions if c.model is None]
    trained = [c for c in conditions if c.model is not None]
    cells = [Cell(c, r) for c in quick for r in range(replicates)]
    return cells + [Cell(c, r) for r in range(replicates) for c in trained]
