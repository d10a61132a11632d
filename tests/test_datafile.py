"""Data-only tasks: formats, kinds, splits, and one clear sentence for each bad input."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tlbench import DataSource, UserError
from tlbench.datafile import task_from_file, tasks_from_toml
from tlbench.holdout import hold_out

ROWS = [{"text": f"text number {at}", "label": "good" if at % 2 else "bad"} for at in range(40)]


def write_csv(path: Path, rows: list[dict[str, Any]], delimiter: str = ",") -> Path:
    lines = [delimiter.join(rows[0]), *(delimiter.join(map(str, row.values())) for row in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def write_jsonl(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def write_any(folder: Path, ending: str) -> Path:
    path = folder / f"My Reviews.{ending}"
    texts, labels = [row["text"] for row in ROWS], [row["label"] for row in ROWS]
    if ending in ("csv", "tsv"):
        return write_csv(path, ROWS, "," if ending == "csv" else "\t")
    if ending == "parquet":
        pq.write_table(pa.Table.from_pylist(ROWS), path)
    elif ending == "npz":
        np.savez(path, text=np.array(texts), label=np.array(labels))
    elif ending == "npy":
        rows = list(zip(texts, labels, strict=True))
        np.save(path, np.array(rows, dtype=[("text", "U40"), ("label", "S8")]))
    else:
        write_jsonl(path, ROWS)
    return path


def refused(pattern: str, path: Path, **settings: Any) -> str:
    with pytest.raises(UserError, match=pattern) as caught:
        task_from_file(path, **settings)
    message = str(caught.value)
    assert "\n" not in message
    assert path.name in message
    return message


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl", "parquet", "npz", "npy"])
def test_each_format_gives_the_same_task(ending: str, tmp_path: Path) -> None:
    task = task_from_file(write_any(tmp_path, ending))
    splits = task.load(DataSource())
    assert (task.name, task.kind) == ("my-reviews", "text-classification")
    assert (len(splits.train), len(splits.test)) == (32, 8)
    assert {example.label for example in splits.train} == {"good", "bad"}
    assert [example.id for example in splits.test] == [
        example.id for example in task_from_file(write_any(tmp_path, "jsonl")).load(DataSource()).test]


def test_split_depends_on_content_only(tmp_path: Path) -> None:
    one = task_from_file(write_jsonl(tmp_path / "a.jsonl", ROWS)).load(DataSource())
    other = task_from_file(write_jsonl(tmp_path / "b.jsonl", ROWS[::-1])).load(DataSource())
    assert {example.text for example in one.test} == {example.text for example in other.test}


def test_identity_follows_content_and_columns_not_the_path(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    source = DataSource()
    here = task_from_file(write_jsonl(tmp_path / "a.jsonl", ROWS)).identity(source)
    assert task_from_file(write_jsonl(tmp_path / "elsewhere" / "a.jsonl", ROWS)).identity(source) == here
    assert task_from_file(write_jsonl(tmp_path / "b.jsonl", ROWS[1:])).identity(source) != here
    assert task_from_file(tmp_path / "a.jsonl", text_pair="label").identity(source) != here


def test_duplicates_and_groups_stay_together() -> None:
    inputs = [f"t{at // 3}" for at in range(60)]
    groups = [None if at < 30 else f"g{at // 6}" for at in range(60)]
    held = hold_out(inputs, groups)
    assert sum(held) == 12
    for names in (inputs, groups):
        for name in set(names) - {None}:
            assert len({held[at] for at in range(60) if names[at] == name}) == 1


def test_none_is_a_class_beside_numbers(tmp_path: Path) -> None:
    rows = [{"text": f"text {at}", "label": ("1", "2", "3", "none")[at % 4]} for at in range(60)]
    splits = task_from_file(write_jsonl(tmp_path / "a.jsonl", rows)).load(DataSource())
    assert {example.label for example in splits.train} == {"1", "2", "3", "none"}


def test_large_groups_are_held_out_no_more_often_than_small_ones() -> None:
    share = []
    for draw in range(200):
        groups = [f"g{at // 10}" if at < 100 else None for at in range(200)]
        held = hold_out([f"{draw} {at}" for at in range(200)], groups)
        assert sum(held) <= 40
        share.append(sum(held[:100]) / max(1, sum(held)))
    assert 0.4 < sum(share) / len(share) < 0.6


def test_hold_out_of_one_cluster_is_empty() -> None:
    assert not any(hold_out(["a"] * 10, [None] * 10))
    assert sum(hold_out(["a"] * 10 + ["b"] * 9, [None] * 19)) == 9


def test_group_column_is_used(tmp_path: Path) -> None:
    rows = [{**row, "writer": at // 4} for at, row in enumerate(ROWS)]
    splits = task_from_file(write_jsonl(tmp_path / "a.jsonl", rows), group="writer").load(DataSource())
    assert not {example.group for example in splits.train} & {example.group for example in splits.test}


def test_split_column_and_test_file(tmp_path: Path) -> None:
    sides = ["train"] * 30 + ["dev"] * 5 + ["test"] * 5
    rows = [{**row, "part": side} for row, side in zip(ROWS, sides, strict=True)]
    splits = task_from_file(write_jsonl(tmp_path / "a.jsonl", rows), split="part").load(DataSource())
    assert (len(splits.train), len(splits.validation or ()), len(splits.test)) == (30, 5, 5)
    test = write_csv(tmp_path / "test.csv", [*ROWS[:6], {"text": "new", "label": "odd"}])
    task = task_from_file(write_jsonl(tmp_path / "b.jsonl", ROWS), test=test)
    splits = task.load(DataSource())
    assert (len(splits.train), len(splits.test)) == (40, 7)
    assert splits.notes["test_classes_unseen_in_training"] == ["odd"]
    assert set(task.identity(DataSource())["files"]) == {"data", "test"}


def test_numbers_are_regression_when_many_and_fractional(tmp_path: Path) -> None:
    rows = [{"text": f"t {at}", "label": at / 7} for at in range(40)]
    task = task_from_file(write_csv(tmp_path / "a.csv", rows))
    assert task.kind == "text-regression"
    assert "40 different numbers" in task.load(DataSource()).notes["kind"]
    assert task_from_file(tmp_path / "a.csv", kind="text-classification").kind == "text-classification"
    whole = [{"text": f"t {at}", "label": float(at % 25)} for at in range(100)]
    task = task_from_file(write_jsonl(tmp_path / "b.jsonl", whole))
    assert task.kind == "text-classification"
    assert "24" in {example.label for example in task.load(DataSource()).train}


def test_pairs(tmp_path: Path) -> None:
    rows = [{"a": f"x {at}", "b": f"y {at}", "label": at % 2} for at in range(20)]
    task = task_from_file(write_jsonl(tmp_path / "a.jsonl", rows), text="a", text_pair="b")
    splits = task.load(DataSource())
    assert all(str(example.text_pair).startswith("y") for example in splits.train)


def test_tags_questions_and_targets(tmp_path: Path) -> None:
    tags = [{"words": ["Ada", "is", f"w{at}"], "tags": ["B-P", "O", None]} for at in range(20)]
    task = task_from_file(write_jsonl(tmp_path / "tags.jsonl", tags))
    assert task.kind == "token-classification"
    assert task.load(DataSource()).train[0].tags == ("B-P", "O", None)
    asked = [{"question": f"who {at}?", "context": f"Ada {at // 2} did.", "answer": "did"}
             for at in range(30)]
    task = task_from_file(write_csv(tmp_path / "asked.csv", asked))
    splits = task.load(DataSource())
    assert task.kind == "question-answering"
    assert not {example.context for example in splits.train} & {example.context for example in splits.test}
    assert all(example.context[answer.start:].startswith(answer.text)
               for example in splits.train for answer in example.answers)
    texts = [{"source": f"text {at}", "target": ["short", "brief"]} for at in range(20)]
    task = task_from_file(write_jsonl(tmp_path / "texts.jsonl", texts))
    assert task.kind == "text-generation"
    assert task.load(DataSource()).test[0].targets == ("short", "brief")


def test_squad_answers_are_read(tmp_path: Path) -> None:
    rows = [{"question": "q", "context": f"a b {at}", "answers": {"text": ["b"], "answer_start": [2]}}
            for at in range(20)]
    task = task_from_file(write_jsonl(tmp_path / "a.jsonl", rows), kind="question-answering", label="answers")
    assert task.load(DataSource()).train[0].answers[0].start == 2


def test_csv_with_quotes_bom_and_long_fields(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    body = "".join(f'"line {at}\nand, ""more""",{at % 2}\n' for at in range(20))
    path.write_bytes(b"\xef\xbb\xbftext,label\n" + body.encode() + f"{'x' * 200_000},1\n".encode())
    splits = task_from_file(path).load(DataSource())
    assert any(example.text == 'line 3\nand, "more"' for example in [*splits.train, *splits.test])


def test_empty_texts_and_line_separators_are_data(tmp_path: Path) -> None:
    rows = [{"text": "", "label": "a"}, {"text": "one\u2028two", "label": "b"}, *ROWS]
    splits = task_from_file(write_jsonl(tmp_path / "a.jsonl", rows)).load(DataSource())
    assert {"", "one\u2028two"} <= {example.text for example in [*splits.train, *splits.test]}


def test_task_can_be_sent_to_a_worker(tmp_path: Path) -> None:
    task = task_from_file(write_jsonl(tmp_path / "a.jsonl", ROWS))
    copy = pickle.loads(pickle.dumps(task))
    assert (copy.name, copy.identity(DataSource())) == (task.name, task.identity(DataSource()))


def test_file_problems_are_one_sentence(tmp_path: Path) -> None:
    refused("does not exist", tmp_path / "absent.csv")
    (tmp_path / "a.xls").touch()
    refused("unknown ending '.xls'", tmp_path / "a.xls")
    empty = tmp_path / "empty.csv"
    empty.write_text("\n", encoding="utf-8")
    refused("is empty", empty)
    empty.write_text("text,label\n", encoding="utf-8")
    refused("holds no rows", empty)
    latin = tmp_path / "latin.csv"
    latin.write_bytes(b"text,label\nfine,a\ncaf\xe9,b\n")
    assert "byte 21 (0xe9, line 3)" in refused("is not UTF-8", latin)
    ragged = tmp_path / "ragged.csv"
    ragged.write_text("text,label\na,b\nc,d,e\n", encoding="utf-8")
    refused("line 3 .* has 3 fields, the header has 2", ragged)
    ragged.write_text('text,label\na,b\n"c" x,d\n', encoding="utf-8")
    refused("line 3 .* is not valid CSV", ragged)
    ragged.write_text("text,text\na,b\n", encoding="utf-8")
    refused("names column 'text' twice", ragged)
    lines = tmp_path / "lines.jsonl"
    lines.write_text('{"text": "a"}\n\n{"text": \n', encoding="utf-8")
    refused("line 3 .* is not valid JSON", lines)
    lines.write_text('[{"text": "a"}]\n', encoding="utf-8")
    refused("line 1 .* is a JSON list, not an object", lines)
    for ending in ("parquet", "npz", "npy"):
        damaged = tmp_path / f"damaged.{ending}"
        damaged.write_bytes(b"PK\x03\x04 no archive")
        refused("not a readable Parquet|damaged NumPy", damaged)
        damaged.write_bytes(b"nothing of the kind")
        refused("not a readable Parquet|not a NumPy file", damaged)


def test_object_arrays_are_refused_with_the_line_that_saves_them(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> Any:
            return (Path(tmp_path / "ran").touch, ())

    np.savez(tmp_path / "a.npz", text=np.array(["a", Trap()], dtype=object), label=np.array([0, 1]))
    assert "np.savez(path, text=np.array(texts, dtype=str)" in refused("never loaded", tmp_path / "a.npz")
    np.save(tmp_path / "b.npy", np.array([Trap()], dtype=object), allow_pickle=True)
    assert "np.save(path, " in refused("never loaded", tmp_path / "b.npy")
    assert not (tmp_path / "ran").exists()
    np.save(tmp_path / "c.npy", np.zeros((3, 2)))
    refused("not a structured array", tmp_path / "c.npy")
    np.savez(tmp_path / "d.npz", text=np.array(["a", "b"]), label=np.array([1]))
    refused("shapes", tmp_path / "d.npz")


def test_column_problems_are_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    write_jsonl(path, ROWS)
    refused("no column 'lable': did you mean 'label'", path, label="lable")
    refused("kind 'text-clasif' .* did you mean 'text-classification'", path, kind="text-clasif")
    refused("holds 'bad' at line 1 .*: give a finite number", path, kind="text-regression")
    refused("give a list of words", path, kind="token-classification", text="text", label="label")
    write_jsonl(path, [*ROWS, {"text": "t", "label": None}])
    refused("column 'label' is empty at line 41 .* \\(1 of 41 rows\\)", path)
    write_jsonl(path, [*ROWS, {"text": None, "label": "good"}])
    refused("column 'text' is empty at line 41", path)
    write_jsonl(path, [*ROWS, {"text": "t", "label": 3}])
    refused("mixes types: a text at line 1 .*, a number at line 41", path)
    write_jsonl(path, [*ROWS, {"text": 7, "label": "good"}])
    refused("column 'text' holds 7 at line 41 .*: give a text", path)
    write_jsonl(path, [{"text": f"t{at}", "label": "same"} for at in range(20)])
    refused("have the label 'same': give at least two", path)
    write_jsonl(path, ROWS[:5])
    refused("4 training and 1 test rows", path)
    write_jsonl(path, [{**row, "part": "tset"} for row in ROWS])
    refused("holds 'tset' at line 1 .*: did you mean 'test'", path, split="part")


def test_tag_and_answer_problems_are_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    write_jsonl(path, [{"words": ["a", "b"], "tags": ["O"]}] * 20)
    refused("2 words and 1 tags", path)
    write_jsonl(path, [{"words": ["a", "b"], "tags": ["O", "I-X"]}] * 20)
    refused("tag 'I-X' follows 'O' at line 1 .*: write IOB2", path)
    write_jsonl(path, [{"words": ["a", "b"], "tags": ["O", "B-"]}] * 20)
    refused("tag 'B-' at line 1 .* is no IOB2 tag: write 'O', or 'B-' or 'I-' and a type", path)
    write_jsonl(path, [{"question": "q", "context": "abc", "answer": "x"}] * 20)
    refused("answer 'x' does not stand in its context at line 1", path)
    write_jsonl(path, [{"question": "q", "context": "abc", "answer": "b", "start": 2}] * 20)
    refused("does not stand in its context", path)


def test_toml_describes_several_tasks(tmp_path: Path) -> None:
    write_csv(tmp_path / "a.csv", ROWS)
    toml = tmp_path / "tasks.toml"
    toml.write_text('[[task]]\ndata = "a.csv"\nname = "one"\n[[task]]\ndata = "a.csv"\nlanguages = ["de"]\n',
                    encoding="utf-8")
    tasks = tasks_from_toml(toml)
    assert [(task.name, task.languages) for task in tasks] == [("one", ("en",)), ("a", ("de",))]
    toml.write_text('data = "a.csv"\ntest = "a.csv"\n', encoding="utf-8")
    assert len(tasks_from_toml(toml)[0].load(DataSource()).test) == 40


def test_toml_asks_for_the_likelihood_of_references(tmp_path: Path) -> None:
    write_csv(tmp_path / "a.csv", [{"source": f"copy {i} {i}", "target": f"{i} {i}"} for i in range(60)])
    toml = tmp_path / "tasks.toml"
    toml.write_text('data = "a.csv"\nlikelihood = true\n', encoding="utf-8")
    (task,) = tasks_from_toml(toml)
    assert (task.kind, task.likelihood) == ("text-generation", True)
    toml.write_text('data = "a.csv"\nlikelihood = "yes"\n', encoding="utf-8")
    with pytest.raises(UserError, match=r"'likelihood' in .* is 'yes'"):
        tasks_from_toml(toml)
    toml.write_text('data = "a.csv"\ntest_cap = true\n', encoding="utf-8")
    with pytest.raises(UserError, match="test_cap is True"):
        tasks_from_toml(toml)


@pytest.mark.parametrize(("content", "pattern"), [
    ("data = ", "not valid TOML"),
    ('dta = "a.csv"', "unknown key 'dta': did you mean 'data'"),
    ('name = "x"', "names no data file"),
    ('data = "a.csv"\ntext = 3', "'text' in .* is 3"),
    ("task = 1", "not a list of tables"),
])
def test_toml_problems_are_one_sentence(content: str, pattern: str, tmp_path: Path) -> None:
    toml = tmp_path / "tasks.toml"
    toml.write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=pattern):
        tasks_from_toml(toml)


def test_missing_toml_is_reported(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        tasks_from_toml(tmp_path / "absent.toml")
