"""Masks and spans on cases that can be checked by hand, and losses that equal hand-computed ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from tlbench.engine.forms import IGNORED
from tlbench.engine.pretraining.objectives import (
    Causal,
    Masked,
    Objective,
    SpanCorruption,
    Student,
    objective_for,
    segment,
    span_count,
)
from tlbench.engine.pretraining.start import build
from tlbench.engine.pretraining.vocabulary import Symbols, symbols_of, train_tokenizer
from tlbench.errors import UserError
from tlbench.setups import Pretraining, Shape

T5 = Symbols(8192, tuple(range(103)), end=1, start=0, sentinels=tuple(range(3, 103)))
BERT = Symbols(1000, (0, 1, 2, 3, 4), mask=4)


def restored(inputs: Any, targets: Any, places: Any) -> list[int]:
    """Put every span of the target back in the place of its sentinel."""
    spans: dict[int, list[int]] = {}
    for token, place in zip(targets[:-1].tolist(), places[:-1].tolist(), strict=True):
        if place < 0:
            spans[token] = []
        else:
            spans[list(spans)[-1]].append(token)
    return [token for given in inputs[:-1].tolist() for token in spans.get(given, [given])]


@pytest.mark.parametrize("seed", range(20))
def test_corrupt_loses_nothing_and_has_fixed_lengths(seed: int) -> None:
    generator = np.random.default_rng(seed)
    row = generator.integers(103, 8192, 141).astype(np.int32)
    inputs, targets, places = SpanCorruption(Pretraining(), T5).corrupt(row, generator)
    assert (len(inputs), len(targets)) == (128, 29)
    assert inputs[-1] == targets[-1] == 1
    assert restored(inputs, targets, places) == row.tolist()
    assert (places[targets < 103] == -1).all()
    assert (row[places[places >= 0]] == targets[places >= 0]).all()


def test_corrupt_by_hand() -> None:
    class Cuts:
        """Draws that make the second and the last token two spans: kept 1 + 2, masked 1 + 1."""

        def __init__(self) -> None:
            self.draws = iter([[0], [1, 3]])

        def choice(self, *_: Any, **__: Any) -> Any:
            return np.array(next(self.draws))

    objective = SpanCorruption(Pretraining(noise=0.4, span=1.0), T5)
    inputs, targets, places = objective.corrupt(np.array([500, 501, 502, 503, 504]), Cuts())  # type: ignore[arg-type]
    assert inputs.tolist() == [500, 3, 502, 503, 4, 1]
    assert targets.tolist() == [3, 501, 4, 504, 1]
    assert places.tolist() == [-1, 1, -1, 4, -1]


def test_corrupt_masks_every_position() -> None:
    generator, objective = np.random.default_rng(0), SpanCorruption(Pretraining(), T5)
    row = np.arange(200, 341)
    masked = 1 - np.mean([np.isin(row, objective.corrupt(row, generator)[0]) for _ in range(2000)], axis=0)
    assert masked.min() > 0.03
    assert np.abs(masked[10:-10] - 21 / 141).max() < 0.04


@pytest.mark.parametrize("length", range(3, 40))
def test_corrupt_takes_rows_of_any_length(length: int) -> None:
    row = np.arange(200, 200 + length)
    found = SpanCorruption(Pretraining(), T5).corrupt(row, np.random.default_rng(length))
    assert restored(*found) == row.tolist()


def test_segment_sums_up() -> None:
    generator = np.random.default_rng(0)
    for total, parts in ((5, 1), (5, 5), (21, 7)):
        lengths = segment(total, parts, generator)
        assert (len(lengths), lengths.sum(), lengths.min() >= 1) == (parts, total, True)
    assert span_count(141, Pretraining()) == 7


def test_masked_never_chooses_special_tokens_and_asks_for_the_originals() -> None:
    generator = np.random.default_rng(0)
    rows = generator.integers(0, 1000, (200, 40))
    rows[0] = 2  # a row of nothing but special tokens
    batch = Masked(Pretraining("masked", noise=0.15), BERT).batch(rows, generator)
    inputs, targets, places = (batch[name].numpy() for name in ("input_ids", "targets", "places"))
    assert targets.shape == (200, 6)
    assert (targets[0] == IGNORED).all()
    assert (places[0] == -1).all()
    kept = np.ones_like(rows, dtype=bool)
    for row in range(1, 200):
        assert len(set(places[row])) == 6
        assert (rows[row, places[row]] == targets[row]).all()
        assert (targets[row] > 4).all()
        kept[row, places[row]] = False
    assert (inputs[kept] == rows[kept]).all()


def test_masked_hides_eighty_ten_ten() -> None:
    generator = np.random.default_rng(1)
    rows = generator.integers(5, 1000, (500, 100))
    batch = Masked(Pretraining("masked", noise=0.2), BERT).batch(rows, generator)
    shown = np.take_along_axis(batch["input_ids"].numpy(), batch["places"].numpy(), axis=1)
    targets = batch["targets"].numpy()
    drawn = (shown != 4) & (shown != targets)
    assert np.mean(shown == 4) == pytest.approx(0.8, abs=0.02)
    assert np.mean(drawn) == pytest.approx(0.1, abs=0.02)
    assert (shown[drawn] > 4).all()
    assert shown[drawn].max() > 950


def test_masked_by_hand() -> None:
    class Draws:
        """Positions 3 and 1 have the least numbers; the first becomes the mask, the second a random token."""

        def __init__(self) -> None:
            self.draws = iter([[[0.9, 0.2, 0.0, 0.1]], [[0.3, 0.85]]])

        def random(self, shape: Any) -> Any:
            return np.array(next(self.draws))

        def integers(self, low: int, high: int, shape: Any) -> Any:
            return np.array([[7, 7]])

    batch = Masked(Pretraining("masked", noise=0.5), BERT).batch(np.array([[10, 11, 2, 13]]), Draws())  # type: ignore[arg-type]
    assert batch["input_ids"].tolist() == [[10, 4, 2, 12]]
    assert batch["targets"].tolist() == [[11, 13]]
    assert batch["places"].tolist() == [[1, 3]]


def test_causal_shifts_by_one() -> None:
    batch = Causal(Pretraining("causal"), BERT).batch(np.array([[5, 6, 7, 8]]), np.random.default_rng(0))
    assert {name: part.tolist() for name, part in batch.items()} == {
        "input_ids": [[5, 6, 7]], "targets": [[6, 7, 8]], "places": [[1, 2, 3]]}


@pytest.mark.parametrize("family", ["encoder", "decoder", "encoder-decoder"])
def test_losses_equal_those_of_the_model_itself(family: str, pretraining_toys: Any) -> None:
    recipe, shape = pretraining_toys.recipe(family), Shape(family, 2, 16, 500, heads=2)  # type: ignore[arg-type]
    tokenizer = train_tokenizer(pretraining_toys.documents, shape)
    model: Any = build(shape, tokenizer, recipe)
    symbols = symbols_of(tokenizer, getattr(model.config, "decoder_start_token_id", None))
    objective = objective_for(recipe, family, symbols)
    rows = np.random.default_rng(0).integers(0, len(tokenizer), (3, 48))
    batch = objective.batch(rows, np.random.default_rng(1))
    losses = Student(model, objective, "fp32")(batch).detach()
    ids, targets = batch["input_ids"], batch["targets"]
    with torch.no_grad():
        if family == "encoder-decoder":
            expected = model(input_ids=ids, labels=targets).loss
        elif family == "decoder":
            whole = torch.from_numpy(rows)
            expected = model(input_ids=whole, labels=whole).loss
        else:
            labels = torch.full_like(ids, IGNORED)
            labels.scatter_(1, batch["places"], targets)
            expected = model(input_ids=ids, labels=labels).loss
    assert float(losses.sum() / (targets != IGNORED).sum()) == pytest.approx(float(expected), abs=1e-5)
    logits = objective.logits(model, batch)
    by_hand = -torch.log_softmax(logits, -1).gather(-1, targets.clamp(min=0)[..., None])[..., 0]
    assert torch.allclose(losses, by_hand.where(targets != IGNORED, torch.zeros(())), atol=1e-5)


def test_masked_asks_any_encoder(pretraining_toys: Any) -> None:
    """An encoder that is not BERT computes all its logits; the chosen ones are gathered."""
    from transformers import DistilBertConfig, DistilBertForMaskedLM

    recipe = pretraining_toys.recipe("encoder")
    config = DistilBertConfig(vocab_size=1000, dim=16, n_layers=1, n_heads=2, hidden_dim=16)
    model = DistilBertForMaskedLM(config).eval()
    objective: Objective = objective_for(recipe, "encoder", BERT)
    batch = objective.batch(np.random.default_rng(0).integers(5, 1000, (2, 20)), np.random.default_rng(1))
    logits = objective.logits(model, batch)
    place = int(batch["places"][1, 2])
    assert torch.equal(logits[1, 2], model(batch["input_ids"]).logits[1, place])


@pytest.mark.parametrize(("objective", "family", "expected"), [
    ("masked", "decoder", "objective 'masked' is not one for the family 'decoder': use 'causal'"),
    ("causal", "encoder-decoder", "use 'span-corruption'"),
    ("masked", "encoder", "has no mask token"),
    ("span-corruption", "encoder-decoder", "has 0 sentinels"),
])
def test_impossible_objectives_are_refused(objective: Any, family: str, expected: str) -> None:
    with pytest.raises(UserError, match=expected):
        objective_for(Pretraining(objective), family, Symbols(10, ()))
