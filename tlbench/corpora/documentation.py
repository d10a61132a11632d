"""What the tasks that are made of the documentation corpus share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from tlbench.corpora import apidoc
from tlbench.corpora.parse import Docstring
from tlbench.corpora.split import apart
from tlbench.sources import DataSource
from tlbench.task import Example, Splits, Task

Made = TypeVar("Made", bound=Example)


class DocumentationTask(Task):
    """A task whose examples are made of docstrings, under the split map of the embedded suite."""

    licence = apidoc.LICENCE
    suite = "embedded"
    sources = ("apidoc", "codesearchnet")

    def identity(self, source: DataSource) -> Mapping[str, Any]:
        """Return the fingerprint of the corpus."""
        return apidoc.identity(source)

    def unavailable(self, source: DataSource) -> str | None:
        """Return which documentation is missing, if any."""
        return apidoc.unavailable(source)


def both_sides(
    source: DataSource,
    examples: Callable[[Iterable[Docstring]], Sequence[Made]],
    texts: Callable[[Made], Sequence[str]],
) -> Splits:
    """Return the examples of both sides of the split map; of near-duplicates the training one goes.

    Args:
        source: Where data come from.
        examples: Makes the examples of one side's docstrings.
        texts: Returns the texts by which two examples are compared, the input first.
    """
    corpus = apidoc.corpus(source)
    train, test, removed = apart(examples(corpus.train), examples(corpus.test), texts)
    return Splits(train, test, notes={**corpus.provenance, "removed": removed})
