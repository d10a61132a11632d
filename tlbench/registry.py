"""Finds plugins one by one, so that a broken one is reported by name and cannot stop the rest."""

from __future__ import annotations

import difflib
import hashlib
import importlib
import importlib.metadata
import importlib.util
import inspect
import pkgutil
import sys
import traceback
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import ModuleType
from typing import Any

import pluggy

from tlbench import hookspecs
from tlbench.declarations import task_fault
from tlbench.errors import UserError
from tlbench.model import Model
from tlbench.strategy import Strategy
from tlbench.task import Task

HOOKS = ("tlbench_tasks", "tlbench_strategies", "tlbench_models")
OWN = "tlbench"
_LOADERS = tuple(f"{Path(str(module.__file__)).parent}/" for module in (hookspecs, importlib, pluggy))


@dataclass(frozen=True)
class Broken:
    """A module of a package that `collect` could not import; travels in the hook's result to the report."""

    module: str
    error: str


@dataclass(frozen=True)
class Collected:
    """What `collect` found in a package: classes and values, and a `Broken` for each module that failed."""

    tasks: tuple[type[Task] | Broken, ...]
    strategies: tuple[type[Strategy] | Broken, ...]
    models: tuple[Model | Broken, ...]


@dataclass(frozen=True)
class Origin:
    """Where a plugin came from.

    Attributes:
        title: Distribution and version, or the file.
        source: SHA-256 of the source, for file plugins; part of the keys of their cells.
        strict: Whether a fault is an error (file plugins) or a warning (installed ones).
    """

    title: str
    source: str | None = None
    strict: bool = False


NAMED = Origin("named by the command")
"""Where models come from that no plugin offers: folders and Hub ids that a command names."""


@dataclass
class Registry:
    """The tasks, strategies and models that this process may use, and the faults met while finding them."""

    tasks: dict[str, Task] = field(default_factory=dict)
    strategies: dict[str, type[Strategy]] = field(default_factory=dict)
    models: dict[str, Model] = field(default_factory=dict)
    origins: dict[tuple[str, str], Origin] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    def task(self, name: str) -> Task:
        """Return the task called `name`; an unknown name suggests the nearest."""
        task: Task = known(self.tasks, name, "task")
        return task

    def strategy(self, name: str) -> type[Strategy]:
        """Return the strategy class called `name`; an unknown name suggests the nearest."""
        strategy: type[Strategy] = known(self.strategies, name, "strategy")
        return strategy

    def origin(self, group: str, name: str) -> Origin:
        """Return where an entry came from; `group` is `tasks`, `strategies` or `models`."""
        return self.origins.get((group, name), Origin("given by the caller"))

    def add_task(self, task: Task, origin: Origin) -> None:
        """Add one task object (data-only tasks, the Python API).

        Raises:
            UserError: the name is taken.
        """
        self._add({"tasks": [task], "strategies": [], "models": []}, origin)

    def add_model(self, model: Model) -> None:
        """Add a model that a command names by its folder or Hub id; the same one may come again.

        Raises:
            UserError: the name is taken by another.
        """
        other = self.models.get(model.name)
        if other is None:
            self._add({"tasks": [], "strategies": [], "models": [model]}, NAMED)
        elif other != model:
            raise UserError(
                f"model name {model.name!r} of {model.reference!r} is already taken by {other.reference!r}: rename the "
                "folder"
            )

    @property
    def named(self) -> tuple[Model, ...]:
        """Return the models that no plugin offers; a worker process must be told of them."""
        return tuple(model for model in self.models.values() if self.origin("models", model.name) is NAMED)

    def _add(self, found: Mapping[str, Sequence[Any]], origin: Origin) -> None:
        for group, items in found.items():
            owners = {name: self.origin(group, name).title for name in getattr(self, group)}
            for item in items:
                if item.name in owners:
                    raise UserError(
                        f"{group} name {item.name!r} of {origin.title} is already taken by {owners[item.name]}: rename "
                        "one of them or uninstall its plugin"
                    )
                owners[item.name] = "the same plugin"
        for group, items in found.items():
            for item in items:
                getattr(self, group)[item.name] = item
                self.origins[group, item.name] = origin


def known(shelf: Mapping[str, Any], name: str, noun: str) -> Any:
    """Return `shelf[name]`, or raise a UserError that suggests the nearest names."""
    if name in shelf:
        return shelf[name]
    near = difflib.get_close_matches(name, shelf, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(map(repr, near))}?" if near else f"known: {', '.join(sorted(shelf))}"
    raise UserError(f"{noun} {name!r} is not known: {hint}")


def collect(paths: Iterable[str], package: str) -> Collected:
    """Import a package's modules one by one and collect the Task and Strategy classes and Model values.

    Args:
        paths: The package's `__path__`.
        package: The package's `__name__`.

    Returns:
        What was found; a module that fails to import becomes a `Broken` entry and stops nothing.
    """
    found: dict[str, list[Any]] = {"tasks": [], "strategies": [], "models": []}
    for info in sorted(pkgutil.iter_modules(list(paths)), key=lambda info: info.name):
        name = f"{package}.{info.name}"
        try:
            members = members_of(importlib.import_module(name))
        except (Exception, SystemExit) as error:
            broken = Broken(name, _culprit(error))
            members = {group: [broken] for group in found}
        for group, items in members.items():
            found[group].extend(items)
    return Collected(tuple(found["tasks"]), tuple(found["strategies"]), tuple(found["models"]))


def members_of(module: ModuleType) -> dict[str, list[Any]]:
    """Return the concrete tasks, strategies and models that a module itself defines, by group."""
    own = [value for name, value in vars(module).items() if not name.startswith("_")]

    def classes(base: type) -> list[Any]:
        return [
            value
            for value in own
            if inspect.isclass(value)
            and issubclass(value, base)
            and value.__module__ == module.__name__
            and not inspect.isabstract(value)
            and hasattr(value, "name")
        ]

    return {
        "tasks": classes(Task),
        "strategies": classes(Strategy),
        "models": [value for value in own if isinstance(value, Model)],
    }


def load(plugins: Sequence[Path] = (), strict: bool = False) -> Registry:
    """Find every plugin: entry points (tlbench's own first), then files.

    Args:
        plugins: Python files given with `--plugin`.
        strict: Make faults of installed plugins errors as well.

    Raises:
        UserError: a file plugin is faulty, or any plugin under `strict`.
    """
    registry = Registry()
    manager = pluggy.PluginManager(hookspecs.GROUP)
    manager.add_hookspecs(hookspecs)
    for point, origin in _entry_points():
        _load_one(registry, manager, origin, strict, load_plugin=point.load)
    for path in plugins:
        _load_one(registry, manager, file_origin(path), True, load_plugin=lambda path=path: import_file(path))
    return registry


def _entry_points() -> list[tuple[importlib.metadata.EntryPoint, Origin]]:
    points = []
    for point in importlib.metadata.entry_points(group=hookspecs.GROUP):
        name = point.dist.name if point.dist else "unknown"
        version = point.dist.version if point.dist else "?"
        points.append((name.lower() != OWN, name, point, Origin(f"{name} {version} (entry point {point.name!r})")))
    points.sort(key=lambda entry: (entry[0], entry[1], entry[2].name))
    unique = {(name, point.value): (point, origin) for _, name, point, origin in points}
    return list(unique.values())


def file_origin(path: Path) -> Origin:
    """Return the origin of a plugin file, with the hash of its source.

    Raises:
        UserError: the file cannot be read.
    """
    try:
        source = path.read_bytes()
    except OSError as error:
        raise UserError(f"plugin file {str(path)!r} cannot be read ({error.strerror}): check the path") from error
    return Origin(f"file {path}", hashlib.sha256(source).hexdigest(), strict=True)


def import_file(path: Path) -> ModuleType:
    """Import a plugin file under a name of its own."""
    name = f"tlbench_file_{path.stem}_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UserError(f"plugin file {str(path)!r} is not a Python file: give a path that ends in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    # Not by its loader: that may run bytecode which it kept, told from the source by whole seconds and size alone.
    exec(compile(path.read_bytes(), str(path), "exec"), module.__dict__)
    return module


def _load_one(
    registry: Registry, manager: pluggy.PluginManager, origin: Origin, strict: bool, load_plugin: Any
) -> None:
    """Load one plugin; a fault skips it with one sentence, or raises under `strict`."""
    try:
        plugin = load_plugin()
        for warning in _misspelt(plugin):
            raise UserError(warning)
        manager.register(plugin)
        found = _call(manager, plugin)
        if origin.strict and not any(found.values()) and isinstance(plugin, ModuleType):
            found = members_of(plugin)
            if not any(found.values()):
                raise UserError("it offers no task, strategy or model: define a Task or Strategy class with a name")
        faults = [
            f"plugin {origin.title}: module {broken.module} is skipped: {broken.error}: mend or remove that module"
            for broken in _take_broken(found)
        ]
        registry._add({group: [_instance(item) for item in items] for group, items in found.items()}, origin)
    except (Exception, SystemExit) as error:
        reason = str(error) if isinstance(error, UserError) else f"{_culprit(error)}: mend or remove the plugin"
        if strict:
            raise UserError(f"plugin {origin.title} is faulty: {reason}") from error
        faults = [f"plugin {origin.title} is skipped: {reason}"]
    if strict and faults:
        raise UserError(faults[0])
    registry.faults.extend(faults)


def _culprit(error: BaseException) -> str:
    """Return an unexpected error on one line, with the file and line it came from."""
    text = f"{type(error).__name__}: {' '.join(str(error).split())}"
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith(("<", *_LOADERS))]
    return text if not frames else f"{text} ({frames[-1].filename}:{frames[-1].lineno})"


def _misspelt(plugin: Any) -> list[str]:
    """Return a sentence for each module-level `tlbench_*` function that pluggy would silently ignore."""
    faults = []
    for name, value in vars(plugin).items():
        if not name.startswith("tlbench_") or not inspect.isfunction(value):
            continue
        if name not in HOOKS:
            near = difflib.get_close_matches(name, HOOKS, n=1, cutoff=0)
            faults.append(f"function {name!r} is not a hook of tlbench: did you mean {near[0]!r}?")
        elif not hasattr(value, "tlbench_impl"):
            faults.append(f"function {name!r} is not decorated: put @tlbench.hookimpl above it")
    return faults


def _call(manager: pluggy.PluginManager, plugin: Any) -> dict[str, list[Any]]:
    """Call the three hooks of one plugin alone."""
    others = [other for other in manager.get_plugins() if other is not plugin]
    found: dict[str, list[Any]] = {}
    for hook in HOOKS:
        results = manager.subset_hook_caller(hook, remove_plugins=others)()
        found[hook.removeprefix("tlbench_")] = [item for result in results for item in result]
    return found


def _take_broken(found: dict[str, list[Any]]) -> list[Broken]:
    broken = {item for items in found.values() for item in items if isinstance(item, Broken)}
    for group, items in found.items():
        found[group] = [item for item in items if not isinstance(item, Broken)]
    return sorted(broken, key=lambda item: item.module)


def _instance(item: Any) -> Any:
    """Check one offered item against its contract; Task classes become objects."""
    if inspect.isclass(item) and issubclass(item, Task):
        item = item()
    if isinstance(item, Task):
        fault = task_fault(item)
        if fault:
            raise UserError(f"task {getattr(item, 'name', type(item).__name__)!r}: {fault}")
        return item
    if inspect.isclass(item) and issubclass(item, Strategy):
        _check_strategy(item)
        return item
    if isinstance(item, Model):
        return item
    raise UserError(f"a hook returned {item!r}: return Task classes, Strategy classes or Model values")


def _check_strategy(strategy: Any) -> None:
    params = getattr(strategy, "__dataclass_params__", None)
    if params is None or not params.frozen:
        raise UserError(f"strategy {strategy.name!r} is not a frozen dataclass: put @dataclass(frozen=True) above it")
    try:
        strategy()
    except TypeError as error:
        names = [f.name for f in fields(strategy)]
        raise UserError(
            f"strategy {strategy.name!r} cannot be made without arguments: give every field of {names} a default "
            f"({error})"
        ) from error
