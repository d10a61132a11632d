"""The pre-training script: masks that lose nothing, a lossless tokenizer, exact resume, atomic results."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

SCRIPT = Path(__file__).parents[1] / "scripts" / "pretrain_mini.py"
FRENCH = ("Sélectionner le cœur de l\u2019élément", "Êtes-vous sûr\u00a0? Ça suffit « déjà »",
          "Où est le nœud naïf ?")
ENGLISH = ("Return the number of rows in the table.", "Select the element to delete, then confirm.",
           "def f(x: int) -> str:\n    return  str(x)\n", "A list of keyword arguments passed to the solver.")


@pytest.fixture(scope="module")
def mini() -> Iterator[ModuleType]:
    spec = importlib.util.spec_from_file_location("pretrain_mini", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


@pytest.fixture(scope="module")
def tokenizer(mini: ModuleType) -> Any:
    return mini.train_tokenizer(mini.Texts(ENGLISH * 5, FRENCH), vocabulary=512)


@pytest.fixture(scope="module")
def documents(mini: ModuleType, tokenizer: Any) -> Any:
    return mini.tokenize(mini.Texts(ENGLISH * 30, FRENCH), tokenizer, share=0.1)[0]


@pytest.fixture
def recipe(mini: ModuleType) -> Any:
    return mini.Recipe(tokens=4 * 47 * 8, batch=4, length=47, vocabulary=512, width=16, hidden=24, layers=1,
                       heads=2)


def restored(inputs: Any, targets: Any, mini: ModuleType) -> list[int]:
    """Put every span of the target back in the place of its sentinel."""
    sentinels = range(mini.FIRST_SENTINEL, mini.FIRST_SENTINEL + mini.SENTINELS)
    spans: dict[int, list[int]] = {}
    for token in targets[:-1].tolist():
        if token in sentinels:
            spans[token] = []
        else:
            spans[list(spans)[-1]].append(token)
    return [token for given in inputs[:-1].tolist() for token in spans.get(given, [given])]


@pytest.mark.parametrize("seed", range(20))
def test_corrupt_loses_nothing_and_has_fixed_lengths(mini: ModuleType, seed: int) -> None:
    generator = np.random.default_rng(seed)
    row = generator.integers(103, 8192, 141).astype(np.uint16)
    inputs, targets = mini.corrupt(row, mini.Recipe(), generator)
    assert (len(inputs), len(targets)) == (128, 29)
    assert inputs[-1] == targets[-1] == mini.EOS
    assert restored(inputs, targets, mini) == row.tolist()


def test_corrupt_masks_every_position(mini: ModuleType) -> None:
    generator = np.random.default_rng(0)
    row = np.arange(200, 341)
    draws = [np.isin(row, mini.corrupt(row, mini.Recipe(), generator)[0]) for _ in range(2000)]
    masked = 1 - np.mean(draws, axis=0)
    assert masked.min() > 0.03
    assert np.abs(masked[10:-10] - 21 / 141).max() < 0.04


def test_tokenizer_round_trips_and_ends_with_eos(tokenizer: Any, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    for text in (*FRENCH, *ENGLISH, "ﬁn  de\u00a0l\u2019œuvre æ\ttab", "日本 🎉", ""):
        encoded = loaded(text, return_offsets_mapping=True)
        assert encoded["input_ids"][-1] == loaded.eos_token_id == 1
        assert loaded.decode(encoded["input_ids"], skip_special_tokens=True) == text
    assert (loaded.pad_token_id, loaded.unk_token_id) == (0, 2)
    assert loaded.convert_tokens_to_ids("<extra_id_99>") == 102


def test_tokenizer_offsets_leave_the_space_out(tokenizer: Any) -> None:
    text = "Select the cœur naïf"
    offsets = tokenizer(text, return_offsets_mapping=True)["offset_mapping"]
    pieces = [text[start:end] for start, end in offsets]
    assert all(piece == piece.strip() for piece in pieces)
    assert "the" in pieces


def test_repeats_reach_the_share(mini: ModuleType) -> None:
    times = mini.repeats(27, 6000, 0.1)
    assert 27 * times / (27 * times + 6000) >= 0.1
    assert 27 * (times - 1) / (27 * (times - 1) + 6000) < 0.1


def test_divide_is_disjoint_and_complete(mini: ModuleType) -> None:
    texts = [f"text {i}" for i in range(3000)]
    kept, held_out = mini.divide([*texts, *texts, " "])
    assert sorted([*kept, *held_out]) == sorted(texts)
    assert 20 < len(held_out) < 80


def test_stream_reads_every_row_once_per_epoch(mini: ModuleType, documents: Any, recipe: Any) -> None:
    stream = mini.Stream(documents, recipe)
    per_epoch = len(documents.flat) // recipe.length // recipe.batch
    first = np.concatenate([stream.batch(step) for step in range(per_epoch)])
    assert first.shape == (per_epoch * recipe.batch, recipe.length)
    second = np.concatenate([stream.batch(per_epoch + step) for step in range(per_epoch)])
    assert not np.array_equal(first, second)
    assert np.array_equal(mini.Stream(documents, recipe).batch(2), first[2 * recipe.batch:3 * recipe.batch])


def test_resumed_run_has_the_same_weights(
    mini: ModuleType, documents: Any, recipe: Any, tmp_path: Path
) -> None:
    whole = mini.Run(recipe, documents)
    losses = [whole.advance() for _ in range(6)]
    half = mini.Run(recipe, documents)
    for _ in range(3):
        half.advance()
    half.save(tmp_path / "checkpoint.pt")
    resumed = mini.Run(recipe, documents)
    resumed.load(tmp_path / "checkpoint.pt")
    assert [resumed.advance() for _ in range(3)] == losses[3:]
    expected = whole.model.state_dict()
    assert all(bool((tensor == expected[name]).all()) for name, tensor in resumed.model.state_dict().items())
    assert resumed.tokens == whole.tokens == 6 * 4 * 47


def test_checkpoint_of_another_recipe_is_refused(
    mini: ModuleType, documents: Any, recipe: Any, tmp_path: Path
) -> None:
    mini.Run(recipe, documents).save(tmp_path / "checkpoint.pt")
    with pytest.raises(SystemExit, match="another recipe"):
        mini.Run(replace(recipe, seed=1), documents).load(tmp_path / "checkpoint.pt")


def test_schedule_rises_then_falls_to_zero(mini: ModuleType) -> None:
    recipe = mini.Recipe()
    values = [mini.schedule(recipe, share / 1000) for share in range(1001)]
    assert max(values) == pytest.approx(recipe.step_size)
    assert values[-1] == pytest.approx(0.0)
    assert np.argmax(values) == pytest.approx(1000 * recipe.warmup, abs=1)


def test_train_spends_the_budget_and_publishes_a_loadable_model(
    mini: ModuleType, documents: Any, tokenizer: Any, recipe: Any, tmp_path: Path
) -> None:
    import torch
    from transformers import AutoModelForSeq2SeqLM

    run, held_out = mini.Run(recipe, documents), mini.HeldOut(documents, documents, recipe)
    mini.train(run, held_out, tmp_path / "checkpoint.pt")
    assert run.progress == 1.0
    corpus = mini.Corpus(tokenizer, documents, documents, 3, {"apidoc": {"fingerprint": "0123"}})
    text = mini.card(run, held_out, corpus)
    assert "0123" in text
    assert "v0" in text
    folder = tmp_path / "model"
    for _ in range(2):
        mini.publish(folder, lambda partial: mini.write_model(partial, run, tokenizer, text))
    model = AutoModelForSeq2SeqLM.from_pretrained(folder, dtype=torch.float32)
    assert model.config.dropout_rate == mini.FINE_TUNING_DROPOUT
    assert held_out.loss(model) == pytest.approx(run.curve[-1]["held_out"], abs=0.02)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint.pt", "model"]
