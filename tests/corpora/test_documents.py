"""Documents for pre-training: read, made distinct, divided by hash, and refused in one sentence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tlbench.corpora.documents import Documents, documents_of, from_column, from_files
from tlbench.errors import UserError

TEXT = "one\nfirst line\n\ntwo\n \t\nthree\r\n\r\nfour\n\n\n\none\nfirst line\n"


def test_text_files_are_read_by_paragraph_line_or_file(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(TEXT.encode())
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "c.txt").write_text("\ufefffive", encoding="utf-8")
    (tmp_path / "b" / "c.rst").write_text("left out", encoding="utf-8")
    assert from_files([tmp_path]).texts == ("five", "four", "one\nfirst line", "three", "two")
    lines = from_files([tmp_path / "a.txt"], "line")
    assert lines.texts == ("first line", "four", "one", "three", "two")
    assert len(from_files([tmp_path / "a.txt", tmp_path / "b"], "file").texts) == 2
    assert lines.provenance["documents"] == "one per line"
    assert [file["file"] for file in lines.provenance["files"]] == ["a.txt"]


def test_fingerprint_follows_the_text_alone(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("two\n\none", encoding="utf-8")
    same = documents_of(["one", "two", "one", " "])
    assert from_files([tmp_path / "a.txt"]).fingerprint == same.fingerprint
    assert documents_of(["one", "two", "three"]).fingerprint != same.fingerprint
    assert Documents(("one",), ("two",), 0.1).fingerprint != same.fingerprint


def test_columns_are_read_from_data_files_and_saved_datasets(tmp_path: Path) -> None:
    import datasets
    import pandas as pd

    texts = ["one", None, "two, with a comma", ""]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"body": text}) + "\n" for text in texts), encoding="utf-8")
    pd.DataFrame({"body": texts}).to_parquet(tmp_path / "a.parquet")
    pd.DataFrame({"body": texts}).to_csv(tmp_path / "a.csv", index=False)
    saved = datasets.Dataset.from_dict({"body": texts})
    saved.save_to_disk(str(tmp_path / "one"))
    datasets.DatasetDict({"train": saved, "test": saved}).save_to_disk(str(tmp_path / "dict"))
    for name in ("a.jsonl", "a.parquet", "a.csv", "one", "dict"):
        assert from_column(tmp_path / name, "body").texts == ("one", "two, with a comma"), name
    with pytest.raises(UserError, match="has no column 'text'"):
        from_column(tmp_path / "dict", "text")


def test_numbers_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": 1}\n{"text": 2}\n', encoding="utf-8")
    with pytest.raises(UserError, match="holds 1, which is no text"):
        from_column(tmp_path / "a.jsonl", "text")


def test_lone_surrogates_become_question_marks() -> None:
    assert documents_of(["a\ud800", "b"]).texts == ("a?", "b")


def test_divide_is_disjoint_and_complete() -> None:
    texts = [f"text {number}" for number in range(3000)]
    kept, held_out = Documents(tuple(texts[:2000]), tuple(texts[2000:]), 0.1).divide()
    assert sorted((*kept.texts, *kept.scarce, *held_out.texts, *held_out.scarce)) == sorted(texts)
    assert 20 < len(held_out.texts) + len(held_out.scarce) < 80
    assert kept.share == 0.1


@pytest.mark.parametrize(("count", "expected"), [(2, 1), (3, 1), (40, 5), (200, 16)])
def test_divide_holds_out_enough_of_few_documents(count: int, expected: int) -> None:
    kept, held_out = documents_of(f"text {number}" for number in range(count)).divide()
    assert (len(kept.texts), len(held_out.texts)) == (count - expected, expected)


@pytest.mark.parametrize(("content", "expected"), [
    (b"", "holds 0 documents"), (b" \n\n \n", "holds 0 documents"), (b"one document", "holds 1 documents"),
    (b"fine\ncaf\xe9\n", "is not UTF-8 at byte 8 \\(line 2\\)"),
])
def test_unusable_text_is_one_sentence(content: bytes, expected: str, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(content)
    with pytest.raises(UserError, match=expected):
        from_files([tmp_path / "a.txt"])


def test_missing_paths_are_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        from_files([tmp_path / "absent.txt"])
    with pytest.raises(UserError, match=r"holds no \.txt or \.md file"):
        from_files([tmp_path])
    with pytest.raises(UserError, match="was not made by a dataset's save_to_disk"):
        from_column(tmp_path, "text")
    with pytest.raises(UserError, match="does not exist"):
        from_column(tmp_path / "absent.csv", "text")
