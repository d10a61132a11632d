"""The five kinds of task."""

from __future__ import annotations

from tlbench.errors import UserError
from tlbench.kinds.base import Kind, Metric
from tlbench.task import KINDS, TaskRef

__all__ = ["KINDS", "Kind", "Metric", "kind_named", "kind_of"]


def kind_of(ref: TaskRef) -> Kind:
    """Return the kind of a task, with the metrics that suit its language."""
    return kind_named(ref.kind, ref.language)


def kind_named(name: str, language: str = "") -> Kind:
    """Return the kind called `name`, with the metrics that suit a language.

    Args:
        name: For example `text-generation`.
        language: BCP 47 code of the texts that are written; empty for the metrics of most languages.

    Raises:
        UserError: there is no such kind.
    """
    from tlbench.kinds.classification import Classification
    from tlbench.kinds.generation import Generation
    from tlbench.kinds.question_answering import QuestionAnswering
    from tlbench.kinds.regression import Regression
    from tlbench.kinds.tagging import Tagging

    kinds: tuple[Kind, ...] = (Classification(), Regression(), Tagging(), QuestionAnswering(), Generation())
    for kind in kinds:
        if kind.name == name:
            return kind.spoken(language)
    raise UserError(f"kind {name!r} does not exist: use one of {', '.join(KINDS)}")
