"""What a strategy is offered: other tasks, models that may teach, unlabelled text; read when asked for. No torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from tlbench.model import Architecture
from tlbench.recipes import default_pretraining, setup_of
from tlbench.references import model_named, model_ref, task_ref, why_not
from tlbench.registry import Registry
from tlbench.setups import Pretraining
from tlbench.sources import DataSource
from tlbench.strategy import Offer, SourceOffer, TeacherOffer
from tlbench.task import Budget, Task


def offer_of(
    task: Task, architecture: Architecture | None, budget: Budget, registry: Registry, source: DataSource
) -> Offer:
    """Return the offer of one combination; `architecture` is `None` for strategies that use no model."""
    return Offer(
        task.kind,
        task.name,
        architecture.family if architecture else None,
        budget,
        task.template,
        Sources(task.suite, architecture, registry, source),
        Teachers(task.kind, budget, architecture, registry, source),
        Corpora(task.suite, source),
        _reading(architecture),
        architecture.model_type if architecture else None,
    )


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
        setup = setup_of(task.kind, self._architecture, task.default_budget)
        source = replace(task_ref(task, self._registry, self._source), likelihood=False)  # its test is not read
        return SourceOffer(source, task.default_budget, setup)

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
        return not why_not(task, self._registry, self._source)


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
        setup = setup_of(self._kind, architecture, self._budget)
        return TeacherOffer(model_ref(model, architecture) if model else None, setup)

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
