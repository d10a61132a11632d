"""Packing loses and repeats nothing; tokenizers are lossless and end or frame texts as their family's do."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tlbench.corpora.documents import Documents
from tlbench.engine.pretraining.packing import Rows, Tokens, packed_rows, repeats, tokenize
from tlbench.engine.pretraining.vocabulary import symbols_of, train_tokenizer
from tlbench.errors import UserError
from tlbench.setups import Pretraining, Shape

FRENCH = ("Sélectionner le cœur de l\u2019élément", "Êtes-vous sûr\u00a0? Ça suffit « déjà »", "Où est le nœud naïf ?")
ENGLISH = ("Return the number of rows in the table.", "Select the element to delete, then confirm.",
           "def f(x: int) -> str:\n    return  str(x)\n", "A list of keyword arguments passed to the solver.")
ODD = (*FRENCH, *ENGLISH, "ﬁn  de\u00a0l\u2019œuvre æ\ttab", "日本 🎉", "")
DOCUMENTS = Documents(ENGLISH, FRENCH, 0.5)


def tokenizer(family: str) -> Any:
    return train_tokenizer(Documents(ENGLISH * 5, FRENCH), Shape(family, vocabulary=512))  # type: ignore[arg-type]


def numbered(lengths: list[int], reads: list[int] | None = None) -> Tokens:
    """Return documents whose tokens all differ."""
    starts = np.cumsum([0, *lengths])
    flat = np.arange(starts[-1], dtype=np.int32)
    return Tokens(flat, starts, np.array(list(range(len(lengths))) if reads is None else reads), 1)


@pytest.mark.parametrize(("lengths", "length"), [([5, 3, 9, 4], 4), ([5, 3, 9, 4], 7), ([3, 2], 16), ([40, 2, 1], 16)])
def test_stream_reads_every_token_once_per_epoch(lengths: list[int], length: int) -> None:
    tokens = numbered(lengths)
    stream = Rows(tokens, Pretraining(batch=3, length=length))
    epochs = 3 * length  # after so many epochs a row ends where an epoch ends
    rows = np.stack([stream.row(number) for number in range(epochs * tokens.epoch // length)])
    assert rows.shape[1] == length
    assert Counter(rows.ravel().tolist()) == dict.fromkeys(range(tokens.epoch), epochs)


def test_stream_counts_repeated_documents_as_often_as_they_are_read() -> None:
    tokens = numbered([4, 2], reads=[0, 1, 1, 1])
    stream = Rows(tokens, Pretraining(batch=1, length=10))
    assert tokens.epoch == 10
    for number in range(5):
        assert Counter(stream.row(number).tolist()) == {**dict.fromkeys(range(4), 1), 4: 3, 5: 3}


def test_documents_stay_whole_inside_an_epoch() -> None:
    tokens = numbered([4, 4, 4])
    stream = Rows(tokens, Pretraining(batch=1, length=12))
    row = stream.row(5).reshape(3, 4)
    assert sorted(row.tolist()) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]


def test_batches_are_a_function_of_seed_and_step() -> None:
    tokens = numbered([7] * 30)
    recipe = Pretraining(batch=2, length=9)
    stream = Rows(tokens, recipe)
    batches = [stream.batch(step) for step in range(30)]
    assert np.array_equal(Rows(tokens, recipe).batch(17), batches[17])
    assert not np.array_equal(Rows(tokens, Pretraining(batch=2, length=9, seed=1)).batch(17), batches[17])
    assert np.array_equal(batches[4][1], stream.row(9))


def test_packed_rows_are_whole_rows_or_one_shorter_one() -> None:
    assert packed_rows(numbered([30, 30]), Pretraining(length=16)).shape == (3, 16)
    assert packed_rows(numbered([10, 10]), Pretraining(length=141)).shape == (1, 20)
    with pytest.raises(UserError, match="hold 3 tokens"):
        packed_rows(numbered([3]), Pretraining())


def test_repeats_reach_the_share() -> None:
    times = repeats(27, 6000, 0.1)
    assert 27 * times / (27 * times + 6000) >= 0.1
    assert 27 * (times - 1) / (27 * (times - 1) + 6000) < 0.1
    assert repeats(0, 10, 0.1) == 1


def test_tokenize_repeats_scarce_documents_to_their_share() -> None:
    tokens = tokenize(DOCUMENTS, tokenizer("encoder-decoder"))
    sizes = np.diff(tokens.starts)
    scarce = sizes[tokens.reads[tokens.reads >= len(ENGLISH)]].sum()
    assert scarce / tokens.epoch >= 0.5
    assert len(tokens.starts) - 1 == len(ENGLISH) + len(FRENCH)


@pytest.mark.parametrize("family", ["encoder", "decoder", "encoder-decoder"])
def test_tokenize_ends_every_document_once(family: str) -> None:
    known = tokenizer(family)
    tokens = tokenize(DOCUMENTS, known)
    end = known.sep_token_id if family == "encoder" else known.eos_token_id
    for start, stop in zip(tokens.starts[:-1], tokens.starts[1:], strict=True):
        document = tokens.flat[start:stop].tolist()
        assert document[-1] == end
        assert document.count(end) == 1
        assert (document[0] == known.cls_token_id) == (family == "encoder")


def test_tokenize_ignores_the_truncation_that_a_tokenizer_was_saved_with() -> None:
    known = tokenizer("encoder")
    whole = tokenize(DOCUMENTS, known).fingerprint
    known.backend_tokenizer.enable_truncation(5)
    known.backend_tokenizer.enable_padding(length=50)
    assert tokenize(DOCUMENTS, known).fingerprint == whole
    assert known.backend_tokenizer.truncation["max_length"] == 5


@pytest.mark.parametrize("family", ["encoder", "decoder", "encoder-decoder"])
def test_tokenizer_round_trips_after_saving(family: str, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer(family).save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    for text in ODD:
        ids = loaded(text)["input_ids"]
        assert loaded.decode(ids, skip_special_tokens=True) == text
        framed = {"encoder": [loaded.cls_token_id, loaded.sep_token_id], "decoder": [],
                  "encoder-decoder": [loaded.eos_token_id]}[family]
        assert [token for token in ids if token in loaded.all_special_ids] == framed
    pair = loaded("a b", "c d")
    assert max(pair.get("token_type_ids", [1])) == 1


def test_tokenizer_of_an_encoder_decoder_has_the_ids_of_mini() -> None:
    known = tokenizer("encoder-decoder")
    assert (known.pad_token_id, known.eos_token_id, known.unk_token_id) == (0, 1, 2)
    assert symbols_of(known).sentinels == tuple(range(3, 103))


def test_tokenizer_offsets_leave_the_space_out() -> None:
    text = "Select the cœur naïf"
    offsets = tokenizer("encoder-decoder")(text, return_offsets_mapping=True)["offset_mapping"]
    pieces = [text[start:end] for start, end in offsets]
    assert all(piece == piece.strip() for piece in pieces)
    assert "the" in pieces


def test_vocabulary_without_room_for_the_bytes_is_refused() -> None:
    with pytest.raises(UserError, match="bytes and special tokens alone are 359"):
        train_tokenizer(DOCUMENTS, Shape(vocabulary=300))
