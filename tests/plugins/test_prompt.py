"""Prompting: worked examples, prompts that fit, and answers read from what a model wrote."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from tlbench_plugins.learners.answers import Answer, Classes, Entities, Numbers, Texts, located
from tlbench_plugins.learners.prompts import Prompter, worked_examples
from tlbench_plugins.prompt import Prompt

from tlbench import (
    GenerationExample,
    Offer,
    QuestionExample,
    Setup,
    Span,
    TextExample,
    TextModel,
    TokenExample,
    UnsupportedError,
    UserError,
    registry,
)
from tlbench.specs import parse_strategy

SENTENCE = TokenExample("1", ("Ada", "Lovelace", "met", "ada", "in", "New", "York", "."), ("O",) * 8)
REVIEWS = [TextExample(str(at), f"text {at}", "good" if at < 15 else "bad" if at < 19 else "odd") for at in range(20)]


class Recorder(TextModel):
    """Keeps the prompts; likes continuations that the prompt ends with, and writes `said`."""

    def __init__(self, positions: int = 10**6, said: str = "") -> None:
        self.positions, self.said, self.prompts = positions, said, list[str]()

    def log_likelihood(self, prompts: Sequence[str], continuations: Sequence[str]) -> list[float]:
        self.prompts += prompts
        return [0.0 if after.strip() in before else float("nan") for before, after in zip(
            prompts, continuations, strict=True)]

    def generate(self, prompts: Sequence[str], max_tokens: int, stop: str) -> list[str]:
        self.prompts += prompts
        return [self.said] * len(prompts)

    def count(self, texts: Sequence[str]) -> list[int]:
        return [len(text.split()) for text in texts]


def prompter(model: TextModel, kind: str, template: str, train: Sequence[Any], **fields: Any) -> Prompter:
    strategy = Prompt(**fields)
    setup = strategy.prepare(Setup(), Offer(kind, "toy", "decoder", 20, template))
    learner = strategy.learner(setup.learner.config, kind, 3)
    assert isinstance(learner, Prompter)
    learner.use(model)
    learner.fit(train, [])
    return learner


def test_worked_examples_are_balanced_over_classes_and_drawn_by_the_seed() -> None:
    drawn = worked_examples(REVIEWS, 7, 1, balanced=True)
    assert Counter(example.label for example in drawn) == {"good": 3, "bad": 3, "odd": 1}
    assert drawn == worked_examples(REVIEWS, 7, 1, balanced=True)
    assert len({tuple(e.id for e in worked_examples(REVIEWS, 4, seed, True)) for seed in range(5)}) == 5
    assert len(worked_examples(REVIEWS, 99, 1, balanced=True)) == 20
    assert len({e.id for e in worked_examples(REVIEWS, 5, 1, balanced=False)}) == 5
    assert worked_examples(REVIEWS, 0, 1, balanced=True) == []


def test_prompt_is_instruction_examples_question() -> None:
    model = Recorder()
    learner = prompter(model, "text-classification", "Of {labels}.\n\nR: {text}\nL:", REVIEWS, shots=2)
    assert learner.predict([TextExample("x", "a bad one", "")]) == ["bad"]
    top, first, second, asked = model.prompts[0].split("\n\n")
    assert (top, asked) == ("Of bad, good, odd.", "R: a bad one\nL:")
    shown = {f"R: {example.text}\nL: {example.label}" for example in REVIEWS}
    assert {first, second} <= shown
    assert len(model.prompts) == 3, "once per class"


def test_zero_shot_has_no_examples() -> None:
    model = Recorder(said="3 stars")
    train = [TextExample("1", "t", 1.0), TextExample("2", "t", 2.0)]
    learner = prompter(model, "text-regression", "{text} =", train, shots=0)
    assert learner.predict([TextExample("x", "new", 0.0)]) == [3.0]
    assert model.prompts == ["new ="]


def test_long_prompts_lose_examples_then_the_end_of_the_text_and_are_counted() -> None:
    train = [GenerationExample(str(at), "one two three", ("four",)) for at in range(4)]
    model = Recorder(positions=30)
    learner = prompter(model, "text-generation", "S: {source}\nT:", train, shots=4, max_tokens=10)
    asked = [GenerationExample(str(size), "w " * size, ()) for size in (0, 12, 50)]
    learner.predict(asked)
    assert [prompt.count("four") for prompt in model.prompts] == [3, 1, 0]
    assert [len(prompt.split()) for prompt in model.prompts] == [20, 20, 20]
    assert model.prompts[2].endswith("w w\nT:")
    assert learner.notes() == {"prompts": 3, "prompts_with_fewer_shots": 3, "prompts_with_cut_text": 1}


def test_a_model_without_room_for_an_answer_is_unsupported() -> None:
    with pytest.raises(UnsupportedError, match="the model holds 10 tokens"):
        prompter(Recorder(positions=10), "text-generation", "{source}", [GenerationExample("1", "s", ("t",))])


def test_a_gap_stands_where_the_answer_belongs_and_worked_examples_hold_answers() -> None:
    model = Recorder(said="Turing")
    model.gap = "<gap>"
    train = [GenerationExample("1", "Ada", ("Lovelace",))]
    learner = prompter(model, "text-generation", "First: {source}\nLast:", train, shots=1, infill=True)
    assert learner.predict([GenerationExample("2", "Alan", ("",))]) == ["Turing"]
    assert model.prompts == ["First: Ada\nLast: Lovelace\n\nFirst: Alan\nLast: <gap>"]


def test_only_models_with_sentinels_fill_gaps() -> None:
    with pytest.raises(UnsupportedError, match="has no sentinels"):
        prompter(Recorder(), "text-classification", "{text}", REVIEWS, infill=True)
    template = "Review: {text}\nLabel:"
    offers = [Offer("text-classification", "toy", family, 20, template) for family in ("decoder", "encoder-decoder")]
    assert [Prompt(infill=True).unsupported(offer) for offer in offers] == [
        "a decoder continues texts and fills no gaps: prompt it without infill", None]
    assert [Prompt().unsupported(offer) for offer in offers] == [None, None]


def test_likelihoods_that_are_no_numbers_never_win() -> None:
    classes = Classes()
    classes.learn(REVIEWS)
    assert classes.ask(Recorder(), ["only good here", "nothing"], REVIEWS[:2], 8) == ["good", "bad"]


@pytest.mark.parametrize(("text", "number"), [
    ("0.75", 0.75), ("about -2 or 3", -2.0), ("\u22121.5", -1.5), ("4/5", 4.0), ("1e3", 1000.0), ("none", 1.5),
    ("", 1.5), ("9" * 400, 1.5),
])
def test_first_number_is_read_else_the_mean(text: str, number: float) -> None:
    numbers = Numbers()
    numbers.learn([TextExample("1", "", 1.0), TextExample("2", "", 2.0)])
    assert numbers.read(text, TextExample("x", "", 0.0)) == number
    assert numbers.write(TextExample("1", "", 0.123456)) == "0.123"


@pytest.mark.parametrize(("text", "tags"), [
    ("Ada Lovelace: PER\nNew York: LOC", "B-PER I-PER O O O B-LOC I-LOC O"),
    ("Ada Lovelace: PER New York: LOC", "B-PER I-PER O O O B-LOC I-LOC O"),
    ("ada: per", "O O O B-PER O O O O"),
    ("Ada: PER\nada: PER\nada: PER", "B-PER O O B-PER O O O O"),
    ("NewYork : LOC", "O O O O O B-LOC I-LOC O"),
    ("Paris: LOC\nYork: CITY\n: PER\nmet: LOC", "O O B-LOC O O O O O"),
    ("none", "O O O O O O O O"),
    ("", "O O O O O O O O"),
])
def test_mentions_are_located_in_the_words(text: str, tags: str) -> None:
    entities = Entities()
    entities.labels = ("LOC", "PER")
    assert entities.read(text, SENTENCE) == tuple(tags.split())


def test_written_entities_are_read_back() -> None:
    example = TokenExample("1", ("Ada", "met", "Ada", "Ng", "in", "New", "York"),
                           ("B-PER", None, "B-PER", "I-PER", "O", "B-LOC", "I-LOC"))
    entities = Entities()
    entities.learn([example])
    assert entities.labels == ("LOC", "PER")
    assert entities.write(example) == "Ada: PER\nAda Ng: PER\nNew York: LOC"
    assert entities.read(entities.write(example), example) == tuple(tag or "O" for tag in example.tags)
    assert entities.write(SENTENCE) == "none"


@pytest.mark.parametrize(("text", "span"), [
    ("New York", Span("New\nYork", 14)),
    ("NEW YORK", Span("New\nYork", 14)),
    ("in Newark", Span("in New", 11)),
    ("i(", Span("i", 6)),
    ("zzz", Span("", 0)),
    ("", Span("", 0)),
])
def test_answer_is_located_in_the_context(text: str, span: Span) -> None:
    context = "They lived in New\nYork."
    assert located(text, context) == span
    example = QuestionExample("1", "Where?", context, (Span("New\nYork", 14),))
    assert Answer().write(example) == "New York"
    assert context.startswith(located(text, context).text, located(text, context).start)


def test_generated_text_is_kept() -> None:
    example = GenerationExample("1", "s", ("two\nlines", "b"))
    assert (Texts().write(example), Texts().read("x", example)) == ("two lines", "x")


def test_prompt_declares_itself_and_composes_with_nothing_that_trains() -> None:
    known = registry.load(strict=True)
    assert (Prompt.uses_model, Prompt.transfers, Prompt.external_data) == (True, True, "none")
    assert parse_strategy("prompt(shots=0)", known) == (Prompt(shots=0),)
    with pytest.raises(UserError, match="trains no network"):
        parse_strategy("prompt+lora", known)
    with pytest.raises(UserError, match="shots must be 0 or more"):
        parse_strategy("prompt(shots=-1)", known)
    with pytest.raises(UnsupportedError, match="kind 'speech'"):
        Prompt().learner({}, "speech", 0)
