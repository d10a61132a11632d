"""The floor: one simple rule per kind."""

from __future__ import annotations

import pytest
from tlbench_plugins.floor import Floor, spans_of_sentences

from tlbench import (
    Example,
    GenerationExample,
    LearnerModel,
    Offer,
    QuestionExample,
    Setup,
    Span,
    TextExample,
    TokenExample,
    UnsupportedError,
)


def fitted(kind: str, train: list[Example]) -> LearnerModel:
    setup = Floor().prepare(Setup(), Offer(kind, "toy", None, len(train)))
    learner = Floor().learner(setup.learner.config, kind, seed=0)
    assert learner.fit(train, [])["rule"]
    return learner


def test_prepare_writes_the_learner_only() -> None:
    before = Setup()
    after = Floor().prepare(before, Offer("text-classification", "toy", None, 10))
    assert after.learner.name == "floor"
    assert (after.phases, after.weights) == (before.phases, before.weights)
    assert not Floor.uses_model
    assert not Floor.transfers


def test_unknown_kind_is_unsupported() -> None:
    with pytest.raises(UnsupportedError, match="no rule for kind 'speech'"):
        Floor().learner({}, "speech", 0)


def test_classes_get_the_majority_and_the_first_name_of_a_draw() -> None:
    train: list[Example] = [TextExample(str(at), "t", label) for at, label in enumerate(["b", "a", "b", "a"])]
    assert fitted("text-classification", train).predict(train[:2]) == ["a", "a"]
    assert fitted("text-classification", train[:3]).predict(train[:1]) == ["b"]


def test_numbers_get_the_mean() -> None:
    train: list[Example] = [TextExample("1", "t", 1.0), TextExample("2", "t", 2.0)]
    assert fitted("text-regression", train).predict(train) == [1.5, 1.5]


def test_tags_are_no_entity() -> None:
    train: list[Example] = [TokenExample("1", ("Ada", "wrote"), ("B-P", "O")), TokenExample("2", (), ())]
    assert fitted("token-classification", train).predict(train) == [("O", "O"), ()]


def test_questions_get_the_sentence_with_most_shared_words() -> None:
    context = "The dog sleeps. The cat eats fish! It rains."
    chinese = "\u72d7\u7761\u3002\u732b\u5403\u9c7c\u3002"
    train: list[Example] = [
        QuestionExample("1", "What does the cat eat?", context, (Span("fish", 29),)),
        QuestionExample("2", "Why?", "", (Span("", 0),)),
        QuestionExample("3", "\u732b\u5403\u4ec0\u4e48?", chinese, (Span("\u9c7c", 5),)),
    ]
    answers = fitted("question-answering", train).predict(train)
    assert answers[0] == Span("The cat eats fish!", 16)
    assert answers[1] == Span("", 0)
    assert answers[2] == Span("\u732b\u5403\u9c7c\u3002", 3)


def test_generation_takes_the_rule_that_fits_the_training_targets() -> None:
    source = "A b c. D e f."
    lead: list[Example] = [GenerationExample("1", source, ("a b c",))]
    whole: list[Example] = [GenerationExample("1", source, ("a b c d e f",))]
    assert fitted("text-generation", lead).predict(lead) == ["A b c."]
    assert fitted("text-generation", whole).predict(whole) == [source]
    assert fitted("text-generation", lead).predict([GenerationExample("2", "", ("x",))]) == [""]


def test_sentences_keep_offsets() -> None:
    text = '  He said "go." The U.S. army left.\n\nWho? '
    spans = spans_of_sentences(text)
    assert [span.text for span in spans] == ['He said "go."', "The U.S. army left.", "Who?"]
    assert all(text[span.start:].startswith(span.text) for span in spans)
