"""The linear baselines: they learn, they are deterministic, and odd input does not stop them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from tlbench_plugins.linear import Linear

from tlbench import (
    Example,
    GenerationExample,
    LearnerModel,
    Offer,
    Prediction,
    QuestionExample,
    Setup,
    Span,
    TextExample,
    TokenExample,
    UnsupportedError,
)

NAMES = ("Ada", "Bob", "Cy", "Dora", "Emil", "Fay", "Gus", "Hal")
PLACES = ("Rome", "Oslo", "Lima", "Cairo", "Delhi", "Paris")


def fitted(kind: str, train: list[Example], validation: list[Example], seed: int = 0
           ) -> tuple[LearnerModel, Mapping[str, Any]]:
    setup = Linear().prepare(Setup(), Offer(kind, "toy", None, len(train)))
    learner = Linear().learner(setup.learner.config, kind, seed)
    return learner, learner.fit(train, validation)


def predictions(kind: str, data: list[Example], seed: int = 0) -> tuple[list[Prediction], Mapping[str, Any]]:
    """Fit on the first 60 %, choose on the next 20 %, predict the rest."""
    first, second = len(data) * 6 // 10, len(data) * 8 // 10
    learner, info = fitted(kind, data[:first], data[first:second], seed)
    return learner.predict(data[second:]), info


def reviews() -> list[Example]:
    good, bad = ("great", "lovely", "fine"), ("awful", "boring", "poor")
    return [TextExample(str(at), f"the film number {at} was {(good if at % 2 else bad)[at // 2 % 3]}",
                        "pos" if at % 2 else "neg") for at in range(60)]


def pairs() -> list[Example]:
    rng = np.random.default_rng(0)
    words = [f"word{at}" for at in range(30)]
    found: list[Example] = []
    for at in range(100):
        left = rng.choice(words, 6, replace=False)
        shared = int(rng.integers(0, 7))
        right = [*left[:shared], *rng.choice(["other", "more", "else", "thing"], 6 - shared)]
        found.append(TextExample(str(at), " ".join(left), shared / 6, text_pair=" ".join(right)))
    return found


def tagged() -> list[Example]:
    found: list[Example] = []
    for at in range(60):
        name, place = NAMES[at % len(NAMES)], PLACES[at % len(PLACES)]
        words = (name, "Smith", "flew", "to", place, "today")
        last = None if at % 5 else "O"
        found.append(TokenExample(str(at), words, ("B-PER", "I-PER", "O", "O", "B-LOC", last)))
    return found


def questions(long: bool) -> list[Example]:
    found: list[Example] = []
    for at in range(40):
        year, place, name = str(1900 + at), PLACES[at % len(PLACES)], NAMES[at % len(NAMES)]
        told = f"The old house of {name} burned in {year}."
        context = f"{name} was born in {place}. {told} Nobody knows the reason."
        text = told if long else year
        asked = f"When did the house of {name} burn?"
        found.append(QuestionExample(str(at), asked, context, (Span(text, context.index(text)),)))
    return found


def test_prepare_puts_all_settings_into_the_setup() -> None:
    setup = Linear(epochs=3).prepare(Setup(), Offer("text-classification", "toy", None, 10))
    assert setup.learner.name == "linear"
    assert setup.learner.config["epochs"] == 3
    assert set(setup.learner.config) >= {"costs", "penalties", "span_penalties", "biases", "longest"}


def test_unknown_kind_is_unsupported() -> None:
    config = Linear().prepare(Setup(), Offer("speech", "toy", None, 10)).learner.config
    with pytest.raises(UnsupportedError, match="no learner for kind 'speech'"):
        Linear().learner(config, "speech", 0)


def test_classification_learns() -> None:
    data = reviews()
    guessed, info = predictions("text-classification", data)
    assert guessed == [example.label for example in data[48:] if isinstance(example, TextExample)]
    assert info["cost"] in Linear().costs


def test_regression_of_pairs_learns() -> None:
    data = pairs()
    guessed, info = predictions("text-regression", data)
    gold = [float(example.label) for example in data[80:] if isinstance(example, TextExample)]
    assert np.corrcoef(guessed, gold)[0, 1] > 0.9
    assert all(isinstance(value, float) for value in guessed)
    assert info["penalty"] in Linear().penalties


def test_tagging_learns_and_is_legal() -> None:
    data = tagged()
    guessed, _ = predictions("token-classification", data)
    assert all(tags[:5] == ("B-PER", "I-PER", "O", "O", "B-LOC") for tags in guessed)
    learner, _ = fitted("token-classification", data[:40], data[40:])
    odd = TokenExample("odd", ("Smith", "Smith", "\u732b", "", "Rome"), ("O",) * 5)
    (tags,) = learner.predict([odd])
    assert len(tags) == 5
    assert all(not tag.startswith("I-") or before in (tag, f"B-{tag[2:]}")
               for before, tag in zip(("O", *tags), tags, strict=False))


@pytest.mark.parametrize("long", [False, True])
def test_answers_are_ranked_spans(long: bool) -> None:
    data = questions(long)
    guessed, info = predictions("question-answering", data)
    assert info["candidates"] == ("sentences and clauses" if long else "n-grams")
    wanted = [example.answers[0] for example in data[32:] if isinstance(example, QuestionExample)]
    answers = zip(guessed, wanted, strict=True)
    hits = [span.text.rstrip(".") == right.text.rstrip(".") for span, right in answers]
    assert sum(hits) >= 6
    for span, example in zip(guessed, data[32:], strict=True):
        assert isinstance(example, QuestionExample)
        assert example.context[span.start:span.start + len(span.text)] == span.text


def test_generation_copies_the_nearest_target() -> None:
    train: list[Example] = [GenerationExample("1", "two dogs run", ("zwei Hunde", "x")),
                            GenerationExample("2", "a red house", ("ein Haus",))]
    learner, _ = fitted("text-generation", train, [])
    asked: list[Example] = [GenerationExample("3", "the red houses", ("?",)),
                            GenerationExample("4", "", ("?",))]
    assert learner.predict(asked) == ["ein Haus", "zwei Hunde"]


@pytest.mark.parametrize(("kind", "data"), [
    ("text-classification", reviews()), ("text-regression", pairs()), ("token-classification", tagged()),
    ("question-answering", questions(False)),
])
def test_a_seed_fixes_the_predictions(kind: str, data: list[Example]) -> None:
    assert predictions(kind, data, seed=3) == predictions(kind, data, seed=3)


def test_one_class_in_training_is_predicted_and_recorded() -> None:
    train: list[Example] = [TextExample(str(at), f"text {at}", "only") for at in range(4)]
    learner, info = fitted("text-classification", train, [])
    assert learner.predict(train[:2]) == ["only", "only"]
    assert "one class" in info["fallback"]
    learner, info = fitted("text-regression", [TextExample("1", "a", 0.5), TextExample("2", "b", 0.5)], [])
    assert learner.predict(train[:1]) == [0.5]
    assert "fallback" in info
    words: list[Example] = [TokenExample("1", ("a", "b"), ("O", "O"))]
    learner, info = fitted("token-classification", words, words)
    assert learner.predict(words) == [("O", "O")]
    assert "fallback" in info


def test_texts_without_a_feature_fall_back() -> None:
    empty: list[Example] = [TextExample("1", "", "a"), TextExample("2", "", "b"), TextExample("3", "", "b")]
    learner, info = fitted("text-classification", empty, [])
    assert learner.predict(empty) == ["b", "b", "b"]
    assert "no feature" in info["fallback"]
    blank: list[Example] = [GenerationExample("1", "", ("first",)), GenerationExample("2", "", ("second",))]
    learner, info = fitted("text-generation", blank, [])
    assert learner.predict(blank) == ["first", "first"]


def test_validation_classes_unseen_in_training_cost_but_do_not_stop() -> None:
    data = reviews()
    learner, info = fitted("text-classification", data[:20], [*data[20:30], TextExample("x", "new", "odd")])
    assert np.isfinite(info["validation_loss"])
    assert set(learner.predict(data[30:])) == {"pos", "neg"}


def test_scripts_without_spaces_and_empty_texts_work() -> None:
    words = {"pos": "\u5f88\u597d\u7684\u7535\u5f71", "neg": "\u5f88\u5dee\u7684\u7535\u5f71"}
    data: list[Example] = [TextExample(str(at), words[label] * (1 + at % 3), label)
                           for at, label in enumerate(["pos", "neg"] * 10)]
    learner, _ = fitted("text-classification", data[:14], data[14:])
    assert learner.predict([*data[14:16], TextExample("x", "", "pos")])[:2] == ["pos", "neg"]
    asked: list[Example] = [
        QuestionExample(str(at), "\u732b\u5403\u4ec0\u4e48?", "\u72d7\u7761\u3002\u732b\u5403\u9c7c\u3002",
                        (Span("\u9c7c", 5),)) for at in range(6)]
    ranker, _ = fitted("question-answering", asked[:4], asked[4:])
    nothing = QuestionExample("x", "", "", (Span("", 0),))
    assert ranker.predict([asked[0], nothing]) == [Span("\u9c7c", 5), Span("", 0)]
    assert ranker.predict([]) == []
