"""Altered copies: labels, spans and tags stay right, and nothing else of the example changes."""

from __future__ import annotations

import random
from types import ModuleType
from typing import Any

import pytest

from tlbench.errors import UserError
from tlbench.setups import Augment
from tlbench.task import QuestionExample, Span, TextExample, TokenExample
from tlbench.transforms import EDITS, Draw, _pieces, augmented, edited, neighbours

KINDS = ("text-classification", "text-regression", "token-classification", "question-answering", "text-generation")
WORDS = ["alpha", "beta", "gamma", "delta", "epsilon"]


def draw(share: float, seed: int = 0, nearest: Any = None) -> Draw:
    return Draw(random.Random(seed), share, nearest or {}, {})


@pytest.mark.parametrize("method", EDITS)
@pytest.mark.parametrize("kind", KINDS)
def test_copies_keep_their_answers(kind: str, method: str, toys: ModuleType) -> None:
    examples = toys.examples(toys.KINDS[kind], 40)
    copies = augmented(examples, kind, Augment((method,), 2, 0.5), seed=1)
    assert [copy.id for copy in copies] == [f"{e.id}#{j}" for j in (1, 2) for e in examples]
    for example, copy in zip((*examples, *examples), copies, strict=True):
        if kind == "token-classification":
            assert _entities(copy) == _entities(example)
            assert len(copy.words) == len(copy.tags)
        elif kind == "question-answering":
            assert [span.text for span in copy.answers] == [span.text for span in example.answers]
            assert all(copy.context[s.start : s.start + len(s.text)] == s.text for s in copy.answers)
            assert copy.question == example.question
        elif kind == "text-generation":
            assert copy.targets == example.targets
        else:
            assert copy.label == example.label
    same = sum(_input(a) == _input(b) for a, b in zip((*examples, *examples), copies, strict=True))
    assert same < len(copies) / 2  # most copies differ


def _entities(example: TokenExample) -> list[tuple[tuple[str, ...], str]]:
    return [(tuple(words), str(tag)) for words, tag in _pieces(example) if tag not in ("O", None)]


def _input(example: Any) -> Any:
    return [getattr(example, name, None) for name in ("text", "text_pair", "words", "context", "source")]


def test_mentions_are_exchanged_for_others_of_their_type() -> None:
    examples = (
        TokenExample("a", ("in", "Den", "Haag", "lives", "Zoë"), ("O", "B-LOC", "I-LOC", "O", "B-PER")),
        TokenExample("b", ("Anaïs", "left", "Malmö", "x"), ("B-PER", "O", "B-LOC", None)),
    )
    copies = augmented(examples, "token-classification", Augment(("mention",), 60, 0.9), seed=0)
    places, people = {("Den", "Haag"), ("Malmö",)}, {("Zoë",), ("Anaïs",)}
    seen = set()
    for copy in copies:
        assert all(words in (places if kind == "LOC" else people) for words, kind in _entities(copy))
        outside = [w for w, t in zip(copy.words, copy.tags, strict=True) if t in ("O", None)]
        assert outside in (["in", "lives"], ["left", "x"])
        seen.add(copy.words)
    assert ("in", "Malmö", "lives", "Anaïs") in seen
    assert ("Zoë", "left", "Den", "Haag", "x") in seen


def test_edits_are_what_their_names_say() -> None:
    assert EDITS["dropout"](WORDS, draw(0.999)) == ["alpha"]
    assert EDITS["dropout"](WORDS, draw(0.0)) == WORDS
    swapped = EDITS["swap"](WORDS, draw(0.999999))
    assert swapped == ["beta", "gamma", "delta", "epsilon", "alpha"]
    noisy = EDITS["noise"](["abc", "abcdef"], draw(0.999999))
    assert noisy[0] == "abc"  # short words stay
    assert noisy[1] != "abcdef"
    assert noisy[1][0] == "a"
    assert EDITS["neighbour"](["a", "b"], draw(0.9999, nearest={"a": ["z"]})) == ["z", "b"]


@pytest.mark.parametrize("method", EDITS)
def test_white_space_at_both_ends_stays(method: str) -> None:
    text = edited("  one two\u00a0three \n four ", method, draw(0.5))
    assert text.startswith("  ")
    assert text.endswith(" ")
    assert not text[2].isspace()
    assert edited(" \n ", method, draw(0.5)) == " \n "
    assert edited("", method, draw(0.5)) == ""


def test_overlapping_answers_move_together() -> None:
    context = "the quick brown fox jumps over the lazy dog tonight"
    answers = (Span("brown fox", 10), Span("fox", 16), Span("lazy dog", 35), Span("dog", 40))
    example = QuestionExample("q", "what?", context, answers)
    for copy in augmented((example,), "question-answering", Augment(("dropout", "swap"), 20, 0.6), seed=3):
        assert all(copy.context[s.start : s.start + len(s.text)] == s.text for s in copy.answers)
        assert "brown fox" in copy.context
        assert "lazy dog" in copy.context


def test_copies_depend_on_seed_number_and_id_alone(toys: ModuleType) -> None:
    examples = toys.examples("toy-topic", 10)
    wanted = Augment(("noise",), 1, 0.5)
    first = augmented(examples, "text-classification", wanted, seed=1)
    assert first == augmented(examples, "text-classification", wanted, seed=1)
    assert first != augmented(examples, "text-classification", wanted, seed=2)
    assert augmented(examples[3:4], "text-classification", wanted, seed=1) == first[3:4]


def test_neighbours_are_words_of_like_contexts() -> None:
    texts = [f"the {animal} eats {food} today" for animal in ("cat", "dog", "cow") for food in ("hay", "meat", "fish")]
    near = neighbours([text.split() for text in texts * 3], nearest=2)
    assert set(near["cat"]) == {"dog", "cow"}
    assert set(near["hay"]) == {"meat", "fish"}
    assert neighbours([["one", "two"]]) == {}


def test_entities_are_needed_to_exchange_them() -> None:
    example = TextExample("a", "some text", "x")
    with pytest.raises(UserError, match="entities"):
        augmented((example,), "text-classification", Augment(("mention",), 1, 0.5), seed=0)


@pytest.mark.parametrize("method", ["dropout", "swap", "noise"])
def test_copies_of_short_texts_are_altered_too(method: str) -> None:
    examples = tuple(TextExample(str(i), f"words number {i} here", "x") for i in range(40))
    copies = augmented(examples, "text-classification", Augment((method,), 1, 0.1), seed=0)
    assert all(copy.text != example.text for copy, example in zip(copies, examples, strict=True))
    few = ("a b c", "") if method == "noise" else ("one", "")  # nothing here can be edited, so they stay
    assert [c.text for c in augmented(tuple(TextExample(t, t, "x") for t in few), "text-classification",  # type: ignore[union-attr]
                                      Augment((method,), 1, 0.1), seed=0)] == list(few)


def test_characters_of_scripts_without_spaces_are_words() -> None:
    text = "\u8fd9\u90e8\u7535\u5f71 ok \u975e\u5e38\u597d\u770b"
    lost = edited(text, "dropout", draw(0.3))
    assert 2 < len(lost) < len(text)
    assert set(lost) <= set(text)
    swapped = edited(text, "swap", draw(0.5))
    assert (sorted(swapped), "ok" in swapped, swapped != text) == (sorted(text), True, True)
    assert edited(text, "noise", draw(0.999)) == text
    for seed in range(20):  # the gaps between characters are none, yet no two words grow together
        for method in ("dropout", "swap"):
            assert "defghi" not in edited("abc \u4e2d\u6587def ghi", method, draw(0.4, seed))
            assert "abcdef" not in edited("abc \u4e2d\u6587def ghi", method, draw(0.4, seed))


def test_neighbours_of_tagged_words_are_words() -> None:
    words = [("\u5317\u4eac", "\u4e0a\u6d77", "\u5e7f\u5dde")[i % 3] for i in range(60)]
    examples = tuple(TokenExample(str(i), ("go", word, "now"), ("O", "O", "O")) for i, word in enumerate(words))
    copies = augmented(examples, "token-classification", Augment(("neighbour",), 1, 0.5), seed=0)
    assert {word for copy in copies for word in copy.words} <= {*words, "go", "now"}  # type: ignore[union-attr]
    assert any(copy.words[1] != e.words[1] for copy, e in zip(copies, examples, strict=True))  # type: ignore[union-attr]


def test_text_that_cannot_be_edited_is_drawn_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    monkeypatch.setitem(EDITS, "noise", lambda words, draw: calls.append(1) or words)  # type: ignore[index,func-returns-value]
    augmented((TextExample("a", "a b c", "x"),), "text-classification", Augment(("noise",), 1, 0.1), seed=0)
    assert calls == [1]
