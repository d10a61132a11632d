"""The task contract: what is measured, and the examples it is measured on.

A task is a declaration (class attributes) plus one loading method. It never sees a model.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from tlbench.canonical import added

if TYPE_CHECKING:
    from tlbench.sources import DataSource

Budget = int | Literal["full"]
KINDS = (
    "text-classification",
    "text-regression",
    "token-classification",
    "question-answering",
    "text-generation",
)
"""Names of the five kinds of task; `tlbench.kinds` has what each does."""


@dataclass(frozen=True, slots=True)
class TextExample:
    """One text, or a pair, with a class name (`text-classification`) or a number (`text-regression`)."""

    id: str
    text: str
    label: str | float
    text_pair: str | None = None
    group: str | None = None


@dataclass(frozen=True, slots=True)
class TokenExample:
    """Words with one IOB2 tag each (`token-classification`).

    A tag of `None` leaves the word out of loss and score.
    """

    id: str
    words: tuple[str, ...]
    tags: tuple[str | None, ...]
    group: str | None = None


@dataclass(frozen=True, slots=True)
class Span:
    """An answer: its text and the character offset at which it starts in the context."""

    text: str
    start: int


@dataclass(frozen=True, slots=True)
class QuestionExample:
    """A question, the context that holds the answer, and its accepted answers (`question-answering`)."""

    id: str
    question: str
    context: str
    answers: tuple[Span, ...]
    group: str | None = None


@dataclass(frozen=True, slots=True)
class GenerationExample:
    """A source text and one or more reference texts (`text-generation`). Training uses the first one."""

    id: str
    source: str
    targets: tuple[str, ...]
    group: str | None = None


Example = TextExample | TokenExample | QuestionExample | GenerationExample


def texts_of(example: Example) -> list[str]:
    """Return what an example says without its label, tags, answers or targets; empty texts are left out.

    The words of a `TokenExample` are joined by spaces.
    """
    names = ("text", "text_pair", "context", "question", "source")
    found = [getattr(example, name, None) for name in names]
    return [str(text) for text in (*found, " ".join(getattr(example, "words", ()))) if text]


@dataclass(frozen=True)
class Splits:
    """What a task's `load` returns.

    Attributes:
        train: Examples that anything may train on.
        test: Examples that are scored once per cell.
        validation: The official validation split, if there is one; used by the budget `full` only.
        notes: Counts and facts that the record keeps (duplicates removed, rows dropped, package versions).
    """

    train: Sequence[Example]
    test: Sequence[Example]
    validation: Sequence[Example] | None = None
    notes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class TaskRef:
    """A task as data, as cells hold it: name, version, and what pins its data.

    Attributes:
        name: Short name.
        version: Version of the task.
        kind: Name of the kind.
        metric: Primary metric.
        test_cap: Test examples kept at most.
        identity: What pins the data (revision, content hashes).
        source: Hash of the file plugin that defines it, or `None`.
        language: Language of the texts that are written, where its metrics split texts in a way of their own.
        likelihood: Whether neural models that are trained also state how likely they find the references.
    """

    name: str
    version: int
    kind: str
    metric: str
    test_cap: int | None
    identity: Mapping[str, Any] = field(default_factory=dict)
    source: str | None = None
    language: str = added("")
    likelihood: bool = added(False)


class Task(ABC):
    """What is measured: name, version, kind, licence, splits, metric.

    Subclass it, fill in the attributes and write `load`. A published task is never edited: what moves a score
    raises `version`.

    Attributes:
        name: Short name in commands and tables, lower case with hyphens.
        version: Raised whenever a score can move.
        kind: `text-classification`, `text-regression`, `token-classification`, `question-answering` or
            `text-generation`.
        summary: One line for `tlbench list tasks`.
        licence: Licence of the data.
        homepage: Where the data come from.
        languages: BCP 47 codes; for translation, source then target. The last one decides how BLEU and token F1 split
            texts.
        suite: `--suite` that `all` takes it from; plugins' tasks always belong to `all`.
        metric: Primary metric of the kind; empty for the kind's default.
        default_budget: Labels (training and validation together) at the quick tier, or `full`.
        sources: Data sets the text comes from, matched against a model's declared training sources.
        test_cap: Test examples kept at the quick tier, drawn by hash; `None` keeps all.
        likelihood: Also report how likely neural models that are trained find the references (perplexity and bits per
            byte of `text-generation`): one more pass over the test examples, after every choice is frozen.
        template: How an example is written as a prompt, up to where its answer begins, for strategies that prompt
            (`tlbench.Template` has the rules); `None` leaves them unsupported. Fields by kind: `{text}` and
            `{text_pair}`; `{words}`; `{question}` and `{context}`; `{source}`; and `{labels}` everywhere. It is
            part of the keys of prompted cells only.
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1
    kind: ClassVar[str]
    summary: ClassVar[str] = ""
    licence: ClassVar[str] = "not stated"
    homepage: ClassVar[str] = ""
    languages: ClassVar[tuple[str, ...]] = ("en",)
    suite: ClassVar[str] = "plugin"
    metric: ClassVar[str] = ""
    default_budget: ClassVar[Budget] = 300
    sources: ClassVar[tuple[str, ...]] = ()
    test_cap: ClassVar[int | None] = 500
    likelihood: ClassVar[bool] = False
    template: ClassVar[str | None] = None

    @abstractmethod
    def load(self, source: DataSource) -> Splits:
        """Return the splits. Called at most once per data fingerprint: the core caches what it returns.

        Raises:
            UserError: the data cannot be read; one sentence, saying what to do.
        """

    def identity(self, source: DataSource) -> Mapping[str, Any]:
        """Return what pins the data (revision, content hashes); part of every cell's key. Must be fast."""
        return {}

    def unavailable(self, source: DataSource) -> str | None:
        """Return why the task cannot be loaded here, in one sentence, or `None`. Must be fast."""
        return None
