"""Answers in words: how each kind writes the right one into a prompt, and reads one from what a model wrote."""

from __future__ import annotations

import difflib
import math
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

from tlbench import (
    Example,
    GenerationExample,
    Prediction,
    QuestionExample,
    Span,
    TextExample,
    TextModel,
    TokenExample,
)
from tlbench.iob2 import mention

NOTHING = "none"
"""What is written for a sentence without an entity."""
_NUMBER = re.compile(r"[-+\u2212]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")


class Answers(ABC):
    """The answers of one kind.

    Attributes:
        lead: What stands between a template and its answer.
        stop: Where a written answer ends.
        balanced: Whether worked examples are drawn from each class in turn.
        labels: Class names or entity types of the training examples, sorted.
    """

    lead = " "
    stop = "\n"
    balanced = False
    labels: tuple[str, ...] = ()

    def learn(self, train: Sequence[Example]) -> None:
        """Learn what the training answers have in common."""
        self.labels = ()

    @abstractmethod
    def write(self, example: Example) -> str:
        """Return the right answer as text."""

    @abstractmethod
    def read(self, text: str, example: Example) -> Prediction:
        """Return the prediction that a written answer means."""

    def room(self, model: TextModel, max_tokens: int) -> int:
        """Return how many tokens an answer may take."""
        return max_tokens

    def ask(
        self, model: TextModel, prompts: Sequence[str], examples: Sequence[Example], max_tokens: int
    ) -> list[Prediction]:
        """Return one prediction per prompt."""
        texts = model.generate(prompts, max_tokens, self.stop)
        return [self.read(text, example) for text, example in zip(texts, examples, strict=True)]


class Classes(Answers):
    """A class: the one whose name is the likeliest, per token, behind the prompt; the first of equals."""

    balanced = True

    def learn(self, train: Sequence[Example]) -> None:
        """Collect the class names."""
        self.labels = tuple(sorted({self.write(example) for example in train}))

    def write(self, example: Example) -> str:
        """Return the class name."""
        assert isinstance(example, TextExample)
        return str(example.label)

    def read(self, text: str, example: Example) -> Prediction:
        """Return the text: a class is chosen, not read."""
        return text

    def room(self, model: TextModel, max_tokens: int) -> int:
        """Return the tokens of the longest class name."""
        return max(model.count([self.lead + label for label in self.labels]))

    def ask(
        self, model: TextModel, prompts: Sequence[str], examples: Sequence[Example], max_tokens: int
    ) -> list[Prediction]:
        """Score each class behind each prompt."""
        width = len(self.labels)
        asked = [prompt for prompt in prompts for _ in self.labels]
        found = model.log_likelihood(asked, [self.lead + label for label in self.labels] * len(prompts))
        scores = [-math.inf if math.isnan(score) else score for score in found]
        rows = [scores[start : start + width] for start in range(0, len(scores), width)]
        return [self.labels[row.index(max(row))] for row in rows]


class Numbers(Answers):
    """The first number of the text, else the mean of the training labels."""

    def learn(self, train: Sequence[Example]) -> None:
        """Average the labels."""
        values = [float(example.label) for example in train if isinstance(example, TextExample)]
        self.mean = sum(values) / len(values)

    def write(self, example: Example) -> str:
        """Return the number with three digits."""
        assert isinstance(example, TextExample)
        return f"{float(example.label):.3g}"

    def read(self, text: str, example: Example) -> Prediction:
        """Return the number."""
        match = _NUMBER.search(text)
        value = float(match[0].replace("\u2212", "-")) if match else self.mean
        return value if math.isfinite(value) else self.mean


class Entities(Answers):
    """Lines `mention: type`, in the order of the sentence; a mention is looked up among the words.

    A vocabulary without line breaks (T5's) writes all on one line, which is read as well.
    """

    lead = "\n"
    stop = "\n\n"

    def learn(self, train: Sequence[Example]) -> None:
        """Collect the entity types."""
        tags = {tag for example in train if isinstance(example, TokenExample) for tag in example.tags}
        self.labels = tuple(sorted({tag[2:] for tag in tags if tag is not None and tag != "O"}))

    def write(self, example: Example) -> str:
        """Return one line per entity."""
        assert isinstance(example, TokenExample)
        lines = [f"{' '.join(words)}: {kind}" for words, kind in _mentions(example)]
        return "\n".join(lines) or NOTHING

    def read(self, text: str, example: Example) -> Prediction:
        """Return the tags of the mentions that the words hold; a mention takes its first place that is free."""
        assert isinstance(example, TokenExample)
        tags = ["O"] * len(example.words)
        if not self.labels:
            return tuple(tags)
        names = {label.lower(): label for label in self.labels}
        either = "|".join(sorted(map(re.escape, names), key=len, reverse=True))
        for match in re.finditer(rf"([^\s:][^\n]*?)\s*:\s*({either})\b[\s,;]*", text, re.IGNORECASE):
            place = _place(match[1], example.words, tags)
            if place:
                kind = names[match[2].lower()]
                tags[place.start : place.stop] = mention(kind, len(place))
        return tuple(tags)


def _mentions(example: TokenExample) -> Iterator[tuple[list[str], str]]:
    words: list[str] = []
    kind = ""
    for word, tag in zip((*example.words, ""), (*example.tags, "O"), strict=True):
        if words and tag != f"I-{kind}":
            yield words, kind
            words = []
        if tag is not None and tag != "O":
            words, kind = [*words, word], tag[2:]


def _place(mention: str, words: Sequence[str], tags: Sequence[str]) -> range | None:
    """Return the first run of free words that spells a mention, white space aside; else whatever the case."""
    for fold in (str, str.lower):
        wanted, spelled = fold("".join(mention.split())), [fold("".join(word.split())) for word in words]
        for start in range(len(words)):
            for end in range(start + 1, len(words) + 1):
                run = "".join(spelled[start:end])
                if run == wanted and all(tag == "O" for tag in tags[start:end]):
                    return range(start, end)
                if len(run) >= len(wanted):
                    break
    return None


class Answer(Answers):
    """The place of the text in the context: exact, then whatever the case, then the longest common part."""

    def write(self, example: Example) -> str:
        """Return the first accepted answer, on one line."""
        assert isinstance(example, QuestionExample)
        return " ".join(example.answers[0].text.split())

    def read(self, text: str, example: Example) -> Prediction:
        """Return the span; the empty one at 0, which means no answer, where nothing of the text is there."""
        assert isinstance(example, QuestionExample)
        return located(text, example.context)


def located(text: str, context: str) -> Span:
    """Return where a text stands in a context, or the longest part of it that does."""
    words = text.split()
    if not words:
        return Span("", 0)
    spelled = r"\s+".join(map(re.escape, words))
    match = re.search(spelled, context) or re.search(spelled, context, re.IGNORECASE)
    if match:
        return Span(match[0], match.start())
    common = difflib.SequenceMatcher(None, context, text, autojunk=False).find_longest_match()
    part = context[common.a : common.a + common.size]
    return Span(part.strip(), common.a + len(part) - len(part.lstrip())) if part.strip() else Span("", 0)


class Texts(Answers):
    """The text as it was written."""

    def write(self, example: Example) -> str:
        """Return the first reference, on one line."""
        assert isinstance(example, GenerationExample)
        return " ".join(example.targets[0].split())

    def read(self, text: str, example: Example) -> Prediction:
        """Return the text."""
        return text


FORMS: dict[str, type[Answers]] = {
    "text-classification": Classes,
    "text-regression": Numbers,
    "token-classification": Entities,
    "question-answering": Answer,
    "text-generation": Texts,
}
"""Kind to the form of its answers."""
