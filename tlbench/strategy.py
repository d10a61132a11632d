"""The strategy contract: how knowledge gets from a source to the target task.

A strategy is a frozen dataclass whose fields are its hyperparameters and whose one method turns a Setup into
another. It sees names and sizes, never a model, never the test split.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from tlbench.setups import Family, ModelRef, Part, Pretraining, Setup
from tlbench.task import Budget, Example, TaskRef

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ExternalData = Literal["none", "unlabeled", "labeled"]
Prediction = Any
"""In task space: a class name, a number, a tuple of tags, a `Span`, or a text, by kind."""


@dataclass(frozen=True)
class SourceOffer:
    """A further task that a strategy may learn from.

    Attributes:
        task: The task.
        budget: Its default budget.
        setup: How the model at hand is fine-tuned on it by default.
    """

    task: TaskRef
    budget: Budget
    setup: Setup


@dataclass(frozen=True)
class TeacherOffer:
    """A model that may teach.

    Attributes:
        model: The model, or `None` for the student's own.
        setup: How it is fine-tuned on the target by default.
    """

    model: ModelRef | None
    setup: Setup


@dataclass(frozen=True)
class Offer:
    """What a strategy may know when it prepares a Setup.

    Attributes:
        kind: Kind of the target task.
        task: Name of the target task.
        family: Family of the model; `None` for strategies that use no model.
        budget: Labels of the cell.
        template: How the task writes an example as a prompt, or `None`.
        sources: Tasks to learn from, by name: iterating gives those of the target's suite that the model can learn
            (the target among them); any other registered task can be asked for by name.
        corpora: Unlabelled text of the target's domain, by name: what pins its rows.
        reading: How the model's family is pre-trained further by default, and from random weights.
        teachers: Models that can learn the target, by name; the empty name stands for the model at hand.
        model_type: transformers' name of the model's architecture; `None` for strategies that use no model.
    """

    kind: str
    task: str
    family: Family | None
    budget: Budget
    template: str | None = None
    sources: Mapping[str, SourceOffer] = field(default_factory=dict)
    teachers: Mapping[str, TeacherOffer] = field(default_factory=dict)
    corpora: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    reading: tuple[Pretraining, Pretraining] | None = None
    model_type: str | None = None

    @property
    def relative_steps(self) -> bool:
        """Return whether the model's recipes take step sizes relative to the weights, as those of T5-like ones do."""
        return self.reading is not None and self.reading[0].optimizer == "rms-adamw"

    def chosen(self, names: str, beside: bool = False) -> tuple[SourceOffer, ...]:
        """Return the source tasks that a user names.

        Args:
            names: Task names separated by `|`; `auto` is the task of the target's suite with the largest default
                budget; of equal ones that of the target's kind, then the first by name.
            beside: Whether they are learned on the target's own trunk: to generate text takes the whole model,
                which a target that does not generate leaves out.

        Returns:
            Those that the model can learn; the target is never among them.
        """

        def fits(found: SourceOffer) -> bool:
            whole = found.task.kind == "text-generation" and self.kind != "text-generation"
            return found.task.name != self.task and not (beside and whole)

        found = [self.sources.get(name) for name in (self.sources if names == "auto" else _split(names))]
        fitting = [one for one in found if one is not None and fits(one)]
        if names == "auto":
            fitting = sorted(fitting, key=self._nearness)[:1]
        return tuple(fitting)

    def _nearness(self, source: SourceOffer) -> tuple[float, bool, str]:
        labels = float("inf") if source.budget == "full" else float(source.budget)
        return -labels, source.task.kind != self.kind, source.task.name

    def refused(self, names: str, beside: bool = False) -> str | None:
        """Return why source tasks that a user names cannot be learned, in one sentence, or `None`."""
        if self.task in _split(names):
            return "the source is the target itself"
        if len(self.chosen(names, beside)) == len(_split(names)):
            return None
        place = "beside" if beside else "before"
        if names == "auto":
            return f"no other task is there that this model can learn {place} the target"
        return f"{names!r} names a task that this model cannot learn {place} the target"


def _split(names: str) -> list[str]:
    return list(dict.fromkeys(names.split("|")))


class TextModel(ABC):
    """A pre-trained model as a learner sees it: texts in, texts and numbers out. Provided by the engine.

    Answers do not depend on what else is asked in the same call.

    Attributes:
        positions: Tokens that prompt and answer may have together.
        gap: What marks a gap that the model was pre-trained to fill (T5's first sentinel), or `None`. Behind a prompt
            that ends in it, answers are what fills the gap: the mark is given to the decoder, not scored, and the
            next sentinel ends the text.
    """

    positions: int
    gap: str | None = None

    @abstractmethod
    def log_likelihood(self, prompts: Sequence[str], continuations: Sequence[str]) -> list[float]:
        """Return the mean log-likelihood (nats per token) of each continuation behind its prompt.

        The end-of-sequence token does not count; a continuation without a token gets minus infinity. A prompt that
        does not fit loses its beginning.
        """

    @abstractmethod
    def generate(self, prompts: Sequence[str], max_tokens: int, stop: str) -> list[str]:
        """Return the greedy continuation of each prompt, stripped, up to `stop` or so many tokens."""

    @abstractmethod
    def count(self, texts: Sequence[str]) -> list[int]:
        """Return how many tokens each text has as a prompt."""


class Stages(ABC):
    """What a learner computes once and every cell, worker and later run finds in the cache. Provided by the engine.

    Attributes:
        draw: Added to the seed of what is computed: 0 where all replicates share it; the cell's replicate where the
            Setup says `Learner(..., shared=False)`, so that replicate 0 has what is otherwise shared.
    """

    draw: int = 0

    @abstractmethod
    def get_or_make(
        self, made_from: Mapping[str, Any], make: Callable[[], Mapping[str, NDArray[np.generic]]]
    ) -> tuple[Mapping[str, NDArray[np.generic]], bool]:
        """Return arrays and whether they were there already.

        Who asks for what another process is making waits for it. What cannot be kept, or is damaged, is made again.

        Args:
            made_from: Everything the arrays depend on, as JSON types or dataclasses: settings, the seed (with `draw`),
                digests of texts, versions of libraries. The strategy's name and version, and the hash of its file if
                it comes from one, are added.
            make: Computes the arrays; their names are file names, and they hold no objects. Keep the seconds among
                them: `shared` tells them in every cell.
        """


@dataclass(frozen=True)
class Shared:
    """What a learner makes once for all cells that it has the same settings and text in, each of which is charged.

    Attributes:
        title: What it is, in words.
        seconds: Wall time that it took.
        spent: Of that, what this cell waited for; 0 if it was there already.
    """

    title: str
    seconds: float
    spent: float


class LearnerModel(ABC):
    """A learner that is not the neural loop: fits examples, predicts in task space, never sees the test labels.

    Attributes:
        model: The cell's model, there from before `fit` if the strategy uses one.
    """

    model: TextModel

    def use(self, model: TextModel) -> None:
        """Take the cell's model; called once before `fit`, if the strategy uses one."""
        self.model = model

    def read(self, texts: Sequence[str]) -> None:
        """Take the unlabelled text that `Learner.reads` names; called once before `fit`, if it names some."""
        raise NotImplementedError(f"{type(self).__name__} asks for unlabelled text but does not read it")

    def keep_in(self, stages: Stages) -> None:
        """Take what keeps arrays in the cache for other cells; called once before `fit`, and may be left aside."""
        return

    @abstractmethod
    def fit(self, train: Sequence[Example], validation: Sequence[Example]) -> Mapping[str, Any]:
        """Learn from the cell's own examples; return what the record keeps (what was selected, sizes)."""

    @abstractmethod
    def predict(self, examples: Sequence[Example]) -> list[Prediction]:
        """Return one prediction per example, in order."""

    def shared(self) -> Shared | None:
        """Return what `fit` used that is made once for several cells; the board charges each cell with it."""
        return None

    def notes(self) -> Mapping[str, Any]:
        """Return what only the predictions showed (inputs that were cut); the record keeps it beside `fit`'s."""
        return {}


class Strategy(ABC):
    """How knowledge gets from source to target.

    Subclass as `@dataclass(frozen=True)`; the fields are hyperparameters with defaults and become part of the
    key. The docstring says, under these words: Source (the paper), Held equal, Adds, Outside data, Cost.

    Attributes:
        name: Short name in commands and tables.
        version: Raised whenever a score can move.
        summary: One line for `tlbench list strategies`.
        external_data: Data from outside the cell that the strategy brings in by itself (`none`, `unlabeled`,
            `labeled`); pre-trained weights are declared by the model.
        uses_model: Whether the strategy runs once per model or exists once.
        transfers: Whether knowledge from outside the cell's labels comes in; `False` marks a baseline.
        writes: Parts of the Setup that `prepare` changes.
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1
    summary: ClassVar[str] = ""
    external_data: ClassVar[ExternalData] = "none"
    uses_model: ClassVar[bool] = True
    transfers: ClassVar[bool] = True
    writes: ClassVar[frozenset[Part]] = frozenset()

    @abstractmethod
    def prepare(self, setup: Setup, offer: Offer) -> Setup:
        """Return the changed Setup. Pure: no file, no clock, no model."""

    def unsupported(self, offer: Offer) -> str | None:
        """Return why this combination has no meaning, in one sentence, or `None`."""
        return None

    def learner(self, config: Mapping[str, Any], kind: str, seed: int) -> LearnerModel:
        """Return the learner that `Setup.learner` names; only for strategies that write `learner`."""
        raise NotImplementedError(f"strategy {self.name!r} writes a learner but does not provide one")
