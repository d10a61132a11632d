"""Toy examples of every kind, made by rule: for checks and tests, never for results."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tlbench.canonical import canonical_json
from tlbench.recipes import default_pretraining, default_setup
from tlbench.setups import Pretraining
from tlbench.strategy import SourceOffer, Stages, TeacherOffer, TextModel
from tlbench.task import Example, GenerationExample, QuestionExample, Span, TaskRef, TextExample, TokenExample

SIZE = 60
TEMPLATES = {
    "text-classification": "One of {labels}.\n\nText: {text}\nLabel:",
    "text-regression": "Text: {text}\nNumber:",
    "token-classification": "Text: {words}\nNames:",
    "question-answering": "Text: {context}\nQuestion: {question}\nAnswer:",
    "text-generation": "Text: {source}\nTitle:",
}
"""A template for each kind."""
_GOOD = ("splendid", "lovely", "great", "fine")
_BAD = ("dreadful", "dull", "poor", "awful")
_THINGS = ("film", "book", "song", "meal", "walk")
_PEOPLE = ("Ada", "Bela", "Chloe", "Dmitri")
_PLACES = ("Oslo", "Lima", "Paris")


def examples(kind: str) -> list[Example]:
    """Return 60 examples of a kind; the last ones hold an empty text, accents and unusual spaces.

    Raises:
        KeyError: there is no such kind.
    """
    makers = {
        "text-classification": _opinion,
        "text-regression": _strength,
        "token-classification": _journey,
        "question-answering": _question,
        "text-generation": _headline,
    }
    return [makers[kind](number) for number in range(SIZE)]


def sources(model_type: str | None) -> dict[str, SourceOffer]:
    """Return a source task as strategies are offered it: a declaration without data."""
    if model_type is None:
        return {}
    task = TaskRef("toy-source", 1, "text-classification", "accuracy", None)
    return {task.name: SourceOffer(task, 300, default_setup(task.kind, model_type, 300))}


def reading(family: str, model_type: str | None) -> tuple[Pretraining, Pretraining] | None:
    """Return how a model reads unlabelled text, further and from random weights."""
    if model_type is None:
        return None
    return default_pretraining(family, model_type, True), default_pretraining(family, model_type, False)


def teachers(kind: str, model_type: str | None) -> dict[str, TeacherOffer]:
    """Return the model at hand as a teacher."""
    return {"": TeacherOffer(None, default_setup(kind, model_type, 300))} if model_type else {}


def _sentence(number: int) -> str:
    if number == SIZE - 1:
        return ""
    words = _GOOD if number % 2 else _BAD
    text = f"the {_THINGS[number % 5]} of day {number} was {words[number // 2 % 4]}"
    return f"{text}  na\u00efve\u00a0\ufb01n " if number == SIZE - 2 else text


def _opinion(number: int) -> Example:
    return TextExample(f"toy-{number}", _sentence(number), "good" if number % 2 else "bad")


def _strength(number: int) -> Example:
    return TextExample(f"toy-{number}", _sentence(number), float(number % 2) + number % 3 / 10)


def _journey(number: int) -> Example:
    words = (_PEOPLE[number % 4], "went", "to", _PLACES[number % 3], str(number))
    return TokenExample(f"toy-{number}", words, ("B-PERSON", "O", "O", "B-PLACE", None if number % 5 == 0 else "O"))


def _question(number: int) -> Example:
    place = _PLACES[number % 3]
    context = f"In spring {number} people met. {_PEOPLE[number % 4]} lived in {place}. It rained."
    return QuestionExample(f"toy-{number}", f"Where did {_PEOPLE[number % 4]} live?", context,
                           (Span(place, context.index(place)),))


def _headline(number: int) -> Example:
    text = _sentence(number) or "nothing"
    return GenerationExample(f"toy-{number}", f"{text}. Nobody knew why. It was day {number}.", (text,))


def other_answer(example: Example) -> tuple[str, Any]:
    """Return the answer's field and another value for it, so that a peeking learner shows."""
    if isinstance(example, TextExample):
        flipped = {"good": "bad", "bad": "good"}
        value = flipped[example.label] if isinstance(example.label, str) else example.label + 1.0
        return "label", value
    if isinstance(example, TokenExample):
        return "tags", tuple("O" for _ in example.tags)
    if isinstance(example, QuestionExample):
        return "answers", (Span(example.context[:2], 0),)
    return "targets", ("something else",)


class ToyTextModel(TextModel):
    """A model that prefers short continuations and goes on with the last words of its prompt."""

    positions = 60

    def log_likelihood(self, prompts: Sequence[str], continuations: Sequence[str]) -> list[float]:
        """Return less for longer continuations; ties are told apart by the prompt."""
        pairs = zip(prompts, continuations, strict=True)
        return [-float(len(after)) - sum(map(ord, before + after)) % 97 / 97 for before, after in pairs]

    def generate(self, prompts: Sequence[str], max_tokens: int, stop: str) -> list[str]:
        """Return the last words of each prompt."""
        return [" ".join(prompt.split()[-max_tokens:][-8:]).partition(stop)[0] for prompt in prompts]

    def count(self, texts: Sequence[str]) -> list[int]:
        """Return the number of words."""
        return [len(text.split()) for text in texts]


class ToyStages(Stages):
    """Stages in memory: what one learner makes, the next finds, as the cache would give it back."""

    def __init__(self, draw: int = 0) -> None:
        self.draw = draw
        self.kept: dict[str, Mapping[str, Any]] = {}

    def get_or_make(
        self, made_from: Mapping[str, Any], make: Callable[[], Mapping[str, Any]]
    ) -> tuple[Mapping[str, Any], bool]:
        """Return arrays and whether they were there already.

        Raises:
            TypeError: the address has no canonical JSON form, or an array holds objects.
        """
        address = canonical_json(made_from)
        there = address in self.kept
        if not there:
            made = dict(make())
            objects = sorted(name for name, array in made.items() if array.dtype.hasobject)
            if objects:
                raise TypeError(f"array {objects[0]!r} holds objects, which no stage keeps: use numbers or strings")
            self.kept[address] = {name: array.copy() for name, array in made.items()}
        return self.kept[address], there
