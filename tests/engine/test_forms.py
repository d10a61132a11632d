"""From texts to tokens and back: nothing is lost on accents, ligatures, odd spaces, long and empty texts."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import replace
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from tlbench import GenerationExample, QuestionExample, Span, TextExample, TokenExample
from tlbench.engine import families
from tlbench.engine.encoding import Encoded
from tlbench.engine.forms import IGNORED, trimmed
from tlbench.engine.generation import joined, left_padded
from tlbench.engine.machine import Machine
from tlbench.engine.place import Place
from tlbench.engine.predict import predict
from tlbench.errors import UserError
from tlbench.iob2 import legal
from tlbench.recipes import default_setup
from tlbench.setups import Phase, Setup

FAMILIES = ("encoder", "decoder", "encoder-decoder")
MODEL_TYPES = {"encoder": "bert", "decoder": "gpt2", "encoder-decoder": "t5"}


def with_length(kind: str, family: str, length: int) -> Setup:
    """Return the usual Setup with another input length."""
    recipe = default_setup(kind, MODEL_TYPES[family], 40, family).phases[0].recipe
    return Setup(phases=(Phase(recipe=replace(recipe, max_length=length, max_target_length=8)),))


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    """Return each family: WordPiece, byte-level BPE, Unigram with Metaspace."""
    return str(request.param)


# --- tagging --------------------------------------------------------------------------------------------------------


def overlapping(machine: Machine, words: Sequence[str], stride_length: int) -> dict[int, list[tuple[int, int]]]:
    """Return for each word the (row, place) of the tokens that cover a part of it, told from characters alone."""
    text = " ".join(words)
    encoding = machine.form.frame.tokenizer(
        [text], truncation=True, max_length=stride_length, return_overflowing_tokens=True, return_offsets_mapping=True
    )
    covered: dict[int, list[tuple[int, int]]] = {}
    start = 0
    for number, word in enumerate(words):
        solid = {start + i for i, char in enumerate(word) if not char.isspace()}
        for row, offsets in enumerate(encoding["offset_mapping"]):
            for place, (begin, end) in enumerate(offsets):
                if solid & set(range(begin, end)):
                    covered.setdefault(number, []).append((row, place))
        start += len(word) + 1
    return covered


@pytest.mark.parametrize("length", [16, 64])
def test_each_word_is_tagged_at_one_token(
    family: str, length: int, machine_of: Callable[..., Machine], toys: ModuleType
) -> None:
    machine = machine_of("token-classification", family, with_length("token-classification", family, length))
    strange = [
        TokenExample("strange", ("ﬁn", "a\u00a0b", "", "\u200b", "e\u0301te\u0301", "\U0001f44d", "Ǆ", " ", "Zoë"),
                     ("O",) * 8 + ("B-PER",)),
        TokenExample("long", tuple(toys.NAMES * 12), ("B-PER",) * 72),
    ]
    for example in [*toys.examples("toy-names", 30), *strange]:
        encoded = machine.form.encode([example])
        words = [encoded.ragged["word"].row(row).tolist() for row in range(len(encoded))]
        labels = [encoded.ragged["labels"].row(row).tolist() for row in range(len(encoded))]
        found = {word: (row, place) for row, w in enumerate(words) for place, word in enumerate(w) if word >= 0}
        assert sum(word >= 0 for row in words for word in row) == len(found)
        expected = {
            word: (places[-1] if family == "decoder" else places[0])
            for word, places in overlapping(machine, example.words, length).items()
        }
        assert found == expected
        for row, marks in enumerate(words):
            for place, word in enumerate(marks):
                tag = example.tags[word] if word >= 0 else None
                wanted = IGNORED if tag is None else machine.form.frame.labels.index(tag)
                assert labels[row][place] == wanted
        assert len(encoded.tokens.flat) == sum(map(len, words))


@pytest.mark.parametrize("length", [16, 64])
def test_gold_tags_decode_to_themselves(
    family: str, length: int, machine_of: Callable[..., Machine], toys: ModuleType
) -> None:
    machine = machine_of("token-classification", family, with_length("token-classification", family, length))
    examples = [e for e in toys.examples("toy-names", 60) if None not in e.tags]
    vanishing = TokenExample("v", ("Zoë", "\u200b\u0007", "", "São", "Paulo"), ("B-PER", "O", "O", "B-LOC", "I-LOC"))
    examples.append(vanishing)
    encoded = machine.form.encode(examples)
    raw = []
    for row in range(len(encoded)):
        labels = encoded.ragged["labels"].row(row)
        raw.append(np.eye(len(machine.form.frame.labels))[np.where(labels == IGNORED, 0, labels)])
    assert machine.form.decode(examples, encoded, raw) == [example.tags for example in examples]


def test_predicted_tags_become_legal() -> None:
    assert legal(["I-A", "I-A", "O", "I-B", "B-A", "I-B", "I-B"]) == ("B-A", "I-A", "O", "B-B", "B-A", "B-B", "I-B")


def test_trimmed_skips_any_white_space() -> None:
    assert trimmed(" \u00a0\u202fx", 0, 4) == 3
    assert trimmed("   ", 0, 3) == 3


# --- spans ----------------------------------------------------------------------------------------------------------


def gold_scores(encoded: Encoded) -> list[Any]:
    """Return scores that point at each row's own start and stop."""
    raw = []
    for row in range(len(encoded)):
        scores = np.zeros((int(encoded.tokens.lengths[row]), 2), dtype=np.float32)
        scores[encoded.per_row["start"][row], 0] += 1
        scores[encoded.per_row["stop"][row], 1] += 1
        raw.append(scores)
    return raw


@pytest.mark.parametrize("length", [32, 64])
def test_gold_answers_decode_to_themselves(
    family: str, length: int, machine_of: Callable[..., Machine], toys: ModuleType
) -> None:
    machine = machine_of("question-answering", family, with_length("question-answering", family, length))
    examples = toys.examples("toy-where", 60)
    encoded = machine.form.encode(examples)
    assert max(encoded.tokens.lengths) <= length
    whole = {int(encoded.owner[row]) for row in np.flatnonzero(encoded.per_row["stop"])}
    if length == 64:
        assert whole == set(range(60))
    else:
        assert len(encoded) > 60  # windows; an answer longer than their overlap may be whole in none
        assert len(whole) > 50
    decoded = machine.form.decode(examples, encoded, gold_scores(encoded))
    for number in whole:
        assert decoded[number] == examples[number].answers[0]


def test_windows_without_the_answer_point_at_the_first_token(
    family: str, machine_of: Callable[..., Machine]
) -> None:
    machine = machine_of("question-answering", family, with_length("question-answering", family, 48))
    context = "very often and " * 40 + "Zoë lives in Malmö."
    example = QuestionExample("q", "Where?", context, (Span("Malmö", context.index("Malmö")),))
    encoded = machine.form.encode([example])
    starts, stops = encoded.per_row["start"], encoded.per_row["stop"]
    assert starts[0] == stops[0] == 0
    assert stops[-1] >= starts[-1] > 0
    covered = {
        char for row in range(len(encoded))
        for begin, end in zip(encoded.ragged["begin"].row(row), encoded.ragged["end"].row(row), strict=True)
        for char in range(begin, end)
    }
    assert {i for i, char in enumerate(context) if not char.isspace()} <= covered


def test_answers_are_texts_of_the_context_whatever_the_scores(
    family: str, machine_of: Callable[..., Machine], toys: ModuleType
) -> None:
    machine = machine_of("question-answering", family, with_length("question-answering", family, 48))
    examples = [*toys.examples("toy-where", 10), QuestionExample("e", "", " \u00a0 ", (Span(" ", 0),))]
    encoded = machine.form.encode(examples)
    random = np.random.default_rng(0)
    raw = [random.normal(size=(int(length), 2)).astype(np.float32) for length in encoded.tokens.lengths]
    for example, span in zip(examples, machine.form.decode(examples, encoded, raw), strict=True):
        assert example.context.startswith(span.text, span.start)
        assert span.text == span.text.lstrip()
    bad = [np.full((int(length), 2), np.nan, dtype=np.float32) for length in encoded.tokens.lengths]
    assert machine.form.decode(examples, encoded, bad) == [Span("", 0)] * len(examples)


# --- generation -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["decoder", "encoder-decoder"])
def test_targets_end_with_the_end_token(family: str, machine_of: Callable[..., Machine], toys: ModuleType) -> None:
    machine = machine_of("text-generation", family, with_length("text-generation", family, 32))
    examples = [*toys.examples("toy-copy", 20), GenerationExample("l", "", ("often very " * 50,))]
    targets = machine.form.encode(examples).ragged["labels"]
    for row in range(len(examples)):
        ids = targets.row(row).tolist()
        assert ids[-1] == machine.form.end
        assert machine.form.end not in ids[:-1]
        assert len(ids) <= 8
    text = machine.form.frame.tokenizer.decode(targets.row(0), skip_special_tokens=True)
    assert unicodedata.normalize("NFKC", examples[0].targets[0]).startswith(unicodedata.normalize("NFKC", text.strip()))


def test_joined_puts_each_target_behind_its_source() -> None:
    source, mask = torch.tensor([[5, 6, 7], [8, 0, 0]]), torch.tensor([[1, 1, 1], [1, 0, 0]])
    labels = torch.tensor([[9, IGNORED], [3, 4]])
    ids, real, starts = joined(source, mask, labels)
    assert ids.tolist() == [[5, 6, 7, 9], [8, 3, 4, 0]]
    assert real.tolist() == [[1, 1, 1, 1], [1, 1, 1, 0]]
    assert starts.tolist() == [3, 1]


def test_left_padding_moves_rows_to_the_right() -> None:
    ids, mask = left_padded(torch.tensor([[5, 6, 7], [8, 1, 1]]), torch.tensor([[1, 1, 1], [1, 0, 0]]), 2)
    assert ids.tolist() == [[5, 6, 7], [2, 2, 8]]
    assert mask.tolist() == [[1, 1, 1], [0, 0, 1]]


@pytest.mark.parametrize("family", ["decoder", "encoder-decoder"])
def test_batches_generate_what_single_rows_do(
    family: str, machine_of: Callable[..., Machine], toys: ModuleType, place: Place
) -> None:
    machine = machine_of("text-generation", family, with_length("text-generation", family, 32))
    for p in machine.parameters():  # so that the texts of a random model differ
        p.data.mul_(3)
    examples = toys.examples("toy-copy", 12)
    together = predict(machine, examples, machine.form.encode(examples), "fp32", place)
    alone = [predict(machine, [e], machine.form.encode([e]), "fp32", place)[0] for e in examples]
    assert together == alone
    assert len(set(together)) > 1


@pytest.mark.parametrize("family", ["decoder", "encoder-decoder"])
def test_loss_of_a_batch_is_the_sum_of_its_rows(
    family: str, machine_of: Callable[..., Machine], toys: ModuleType, place: Place
) -> None:
    machine = machine_of("text-generation", family, with_length("text-generation", family, 32))
    encoded = machine.form.encode(toys.examples("toy-copy", 6))
    with torch.no_grad():
        together = float(machine(encoded.batch(range(6), place.device)))
        alone = sum(float(machine(encoded.batch([row], place.device))) for row in range(6))
    assert together == pytest.approx(alone, rel=1e-5)


@pytest.mark.parametrize("family", ["decoder", "encoder-decoder"])
def test_a_large_vocabulary_is_evaluated_in_smaller_batches(
    family: str, machine_of: Callable[..., Machine], monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = machine_of("text-generation", family)
    assert machine.form.rows_at_once(machine) == 64
    frame = machine.form.frame
    size = machine.trunk.get_output_embeddings().weight.shape[0]  # type: ignore[operator,union-attr]
    tokens = frame.max_target_length + (frame.max_length if family == "decoder" else 0)
    monkeypatch.setattr("tlbench.engine.generation._LOGITS", 5 * size * tokens)
    assert machine.form.rows_at_once(machine) == 5
    monkeypatch.setattr("tlbench.engine.generation._LOGITS", 1)
    assert machine.form.rows_at_once(machine) == 1


@pytest.mark.parametrize("kind", ["text-classification", "question-answering"])
def test_two_texts_of_a_decoder_have_a_separator_between_them(
    kind: str, machine_of: Callable[..., Machine]
) -> None:
    one = (TextExample("1", "a film", "good", "a rock") if kind == "text-classification"
           else QuestionExample("1", "a film", "a rock", (Span("rock", 2),)))
    form = machine_of(kind, "decoder").form
    assert form.frame.tokenizer.decode(form.encode([one]).tokens.flat) == "a film\n\na rock"


def test_model_too_short_to_generate_is_refused(machine_of: Callable[..., Machine]) -> None:
    setup = with_length("text-generation", "decoder", 32)
    recipe = replace(setup.phases[0].recipe, max_target_length=64)
    with pytest.raises(UserError, match="64 tokens"):
        machine_of("text-generation", "decoder", Setup(phases=(Phase(recipe=recipe),)))


# --- all kinds ------------------------------------------------------------------------------------------------------

LONG = "ﬁnds the naïve oﬃce " * 100
EDGES: dict[str, list[Any]] = {
    "text-classification": [TextExample("a", "", "rock"), TextExample("b", LONG, "rock", LONG)],
    "text-regression": [TextExample("a", "", 1.0, ""), TextExample("b", LONG, 0.5, LONG)],
    "token-classification": [TokenExample("a", ("",), ("O",)), TokenExample("b", tuple(LONG.split()), ("O",) * 400)],
    "question-answering": [QuestionExample("a", "", "x", (Span("x", 0),)),
                           QuestionExample("b", LONG, LONG, (Span("ﬁnds", 0),))],
    "text-generation": [GenerationExample("a", "", ("x",)), GenerationExample("b", LONG, (LONG,))],
}


@pytest.mark.parametrize(("kind", "family"), [
    (k, f) for k in EDGES for f in FAMILIES if (k, f) != ("text-generation", "encoder")
])
def test_empty_and_long_texts_have_losses_and_predictions(
    kind: str, family: str, machine_of: Callable[..., Machine], place: Place
) -> None:
    machine = machine_of(kind, family)
    encoded = machine.form.encode(EDGES[kind])
    with torch.no_grad():
        loss = machine(encoded.batch(range(len(encoded)), place.device))
    assert loss.dtype == torch.float32
    assert torch.isfinite(loss)
    assert len(predict(machine, EDGES[kind], encoded, "fp32", place)) == 2


# --- the library below ----------------------------------------------------------------------------------------------


def test_a_library_that_loses_the_end_of_long_texts_is_refused(
    machine_of: Callable[..., Machine], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Losing:  # as tokenizers 0.23.1 and 0.23.2 do
        def __init__(self, model: Any) -> None:
            self.pre_tokenizer: Any = None

        def enable_truncation(self, length: int) -> None:
            self.length = length

        def encode(self, text: str) -> Any:
            return SimpleNamespace(tokens=text.split()[: self.length], overflowing=[])

    families._keeps_long_texts.cache_clear()
    machine_of("token-classification", "encoder")
    monkeypatch.setattr(families, "Tokenizer", Losing)
    families._keeps_long_texts.cache_clear()
    try:
        for kind in ("token-classification", "question-answering"):
            with pytest.raises(UserError, match=r"loses the end of texts that are longer than a model .*!=0\.23\.2"):
                machine_of(kind, "encoder")
    finally:
        families._keeps_long_texts.cache_clear()
