"""Names to references: the tasks and models that a cell holds, and why one cannot be used here. No torch."""

from __future__ import annotations

import json
from pathlib import Path

from tlbench.canonical import plain
from tlbench.corpora.documents import DECLARED, FACTS
from tlbench.errors import UserError
from tlbench.files import file_sha256
from tlbench.kinds import kind_named
from tlbench.model import UNKNOWN, Architecture, Model
from tlbench.registry import Registry, known
from tlbench.setups import ModelRef
from tlbench.sources import DataSource
from tlbench.task import Task, TaskRef


def why_not(task: Task, registry: Registry, source: DataSource) -> str | None:
    """Return why a task cannot be used here; a fault of its plugin is a reason too and stops nothing else."""
    try:
        reason = task.unavailable(source)
        if not reason:
            task_ref(task, registry, source)
    except UserError as error:
        return str(error)
    except Exception as error:
        origin = registry.origin("tasks", task.name).title
        return f"its plugin {origin} is faulty ({type(error).__name__}: {error}): correct the plugin"
    return reason


def task_ref(task: Task, registry: Registry, source: DataSource) -> TaskRef:
    """Return a task as data.

    Raises:
        UserError: its metric is unknown, or an error measure.
    """
    usual, written = kind_named(task.kind), task.languages[-1] if task.languages else ""
    kind = usual.spoken(written)
    if task.metric and task.metric not in {metric.name for metric in kind.metrics}:
        known({metric.name: metric for metric in kind.metrics}, task.metric, f"metric of task {task.name!r}")
    metric = kind.metric(task.metric)
    if not metric.higher_is_better:
        raise UserError(
            f"task {task.name!r} names {metric.name!r} as its primary metric, but errors are never primary: choose one "
            "where higher is better"
        )
    identity = dict(task.identity(source))
    plain(identity)  # raises where it could not be hashed
    return TaskRef(
        task.name,
        task.version,
        task.kind,
        metric.name,
        task.test_cap,
        identity,
        registry.origin("tasks", task.name).source,
        "" if kind is usual else written,
        task.likelihood,
    )


def model_named(name: str, registry: Registry) -> Model:
    """Return a registered model, or register one made of a folder or a Hub id (`owner/name`, `owner/name@revision`).

    A folder that `tlbench pretrain` made declares as training sources what its facts say.

    Raises:
        UserError: there is no such model, or its name is taken by another.
    """
    if name in registry.models:
        return registry.models[name]
    path = Path(name).expanduser()
    if path.is_dir():
        folder = path.resolve()
        model = Model(name=folder.name, reference=str(folder), training_sources=_sources_read(folder))
    elif name.startswith(("package:", ".", "/", "~")):
        model = Model(name=name, reference=name)
    elif "/" in name:
        repository, _, revision = name.partition("@")
        model = Model(name=name, reference=repository, revision=revision or None)
    else:
        model = known(registry.models, name, "model")
    registry.add_model(model)
    return model


def _sources_read(folder: Path) -> tuple[str, ...]:
    """Return what the weights in a folder have read, by the facts that `tlbench pretrain` left beside them.

    The training side of embedded text has a name; the user's own text has none and is `unknown`, and so is what a
    start's weights had read undeclared. Nothing is returned where nothing has a name: without facts, with damaged ones,
    and with those of other weights than lie there now.
    """
    try:
        facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
        if facts["weights_sha256"] != file_sha256(folder / "model.safetensors"):
            return ()
        start = facts["start"]
        before = (start.get("training_sources") or [UNKNOWN]) if "model" in start else []
        found = {*map(str, before), *(DECLARED.get(name, UNKNOWN) for name in facts["corpus"]["provenance"] or [""])}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return ()
    named = tuple(sorted(found - {UNKNOWN}))
    return (*named, UNKNOWN) if named and UNKNOWN in found else named


def model_ref(model: Model, architecture: Architecture) -> ModelRef:
    """Return what identifies a model in a cell."""
    return ModelRef(
        model.name, architecture.family, architecture.model_type, architecture.pooling, architecture.identity
    )
