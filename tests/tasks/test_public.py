"""The public tasks, on tiny rows in the layout of their repositories, and on a mirror where there is one."""

from __future__ import annotations

import importlib
import json
import os
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tlbench import DataSource, Task, UserError
from tlbench.kinds import kind_named
from tlbench.sources import fingerprint

TASKS = {
    "sst2": ("sst2", "Sst2", (6920, 872, 1821)),
    "wnut17": ("wnut17", "Wnut17", (3394, 1009, 1287)),
    "xquad": ("xquad", "Xquad", (957, None, 233)),
    "scitldr": ("scitldr", "Scitldr", (1992, 619, 618)),
    "multi30k-en-de": ("multi30k_en_de", "Multi30kEnDe", (29000, 1014, 1000)),
    "stsb": ("stsb", "Stsb", (5749, 1500, 1379)),
}
UNPINNED = {"bc5cdr": ("bc5cdr", "Bc5cdr"), "dialogsum": ("dialogsum", "DialogSum")}
"""Tasks whose rows nobody could read when they were written: no pins, no mirror."""
LABELS = {"wnut17": {"B-person": 0, "I-person": 1, "O": 2},
          "bc5cdr": {"O": 0, "B-Chemical": 1, "B-Disease": 2, "I-Disease": 3, "I-Chemical": 4}}
SAMPLES: dict[str, list[dict[str, Any]]] = {
    "sst2": [{"text": "a fine film", "label": 1, "label_text": "positive"},
             {"text": "", "label": 0, "label_text": "negative"}],
    "wnut17": [{"tokens": ["Ada", "Lovelace", "wrote"], "tags": [0, 1, 2]}, {"tokens": ["ok"], "tags": [2]}],
    "xquad": [{"id": str(at), "context": f"Paragraph {at // 2} says so.", "question": "What?",
               "answers": {"text": ["says"], "answer_start": [12]}} for at in range(40)],
    "scitldr": [{"source": ["We do this. ", "\n", "It works.\n"], "target": ["This works.", "Works."]}],
    "multi30k-en-de": [{"en": "Two dogs.", "de": "Zwei Hunde."}],
    "bc5cdr": [{"tokens": ["Selegiline", "-", "induced", "postural", "hypotension"], "tags": [1, 0, 0, 2, 3]},
               {"tokens": ["lithium", "carbonate", "toxicity"], "tags": [4, 4, 3]}, {"tokens": [], "tags": []}],
    "dialogsum": [{"id": f"x_{at}", "dialogue": f"#Person1#: Hi, \"{at // 2}\".\n#Person2#: Hello!\n",
                   "summary": ["They greet.", "None"][at % 2], "topic": "greeting"} for at in range(4)],
    "stsb": [{"sentence1": "A dog.", "sentence2": "A hound.", "score": 0.9}],
}


def mirror_folder() -> Path:
    given = os.environ.get("TLBENCH_MIRROR")
    folder = Path(given) if given else Path(__file__).resolve().parents[2].parent / "shared" / "data" / "hub"
    if not folder.is_dir():
        pytest.skip("no mirror of the public data sets here: set TLBENCH_MIRROR to its folder")
    return folder


def task_class(name: str) -> type[Any]:
    module, cls, *_ = {**TASKS, **UNPINNED}[name]
    found: type[Any] = getattr(importlib.import_module(f"tlbench_tasks.{module}"), cls)
    return found


def unpinned(name: str) -> Any:
    """Return the task with no pinned rows, for rows made up here."""
    return type("Unpinned", (task_class(name),), {"rows_sha256": {}})()


def write_mirror(root: Path, task: Any, rows: list[dict[str, Any]]) -> DataSource:
    """Write the same rows as every split of a task."""
    for path in (path for paths in task.hub.files.values() for path in paths):
        file = root / task.hub.repository / path
        file.parent.mkdir(parents=True, exist_ok=True)
        if path.endswith(".parquet"):
            pq.write_table(pa.Table.from_pylist(rows), file)
        elif path.endswith("label.json"):
            file.write_text(json.dumps(LABELS[task.name]), encoding="utf-8")
        elif path.endswith(".csv"):
            pd.DataFrame(rows).to_csv(file, index=False)
        else:
            file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return DataSource(cache=root / "cache", mirror=root)


@pytest.mark.parametrize("name", TASKS)
def test_declaration_is_complete(name: str) -> None:
    task = task_class(name)()
    assert isinstance(task, Task)
    assert (task.name, task.suite) == (name, "public")
    assert task.summary
    assert task.homepage
    assert task.sources
    assert set(task.rows_sha256) == set(task.hub.files)
    assert all(len(pin) == 64 for pin in task.rows_sha256.values())


@pytest.mark.parametrize("name", [*TASKS, *UNPINNED])
def test_made_up_rows_load(name: str, tmp_path: Path) -> None:
    task = unpinned(name)
    source = write_mirror(tmp_path, task, SAMPLES[name])
    splits = task.load(source)
    assert task.unavailable(source) is None
    assert splits.train
    assert splits.test
    parts = (splits.train, splits.validation or (), splits.test)
    identifiers = [example.id for part in parts for example in part]
    assert len(set(identifiers)) == len(identifiers)


@pytest.mark.parametrize("name", UNPINNED)
def test_task_without_pins_is_identified_by_the_files_of_a_mirror(name: str, tmp_path: Path) -> None:
    task = task_class(name)()
    assert (task.name, task.suite, task.rows_sha256) == (name, "public", {})
    assert task.licence != Task.licence
    assert "branch\n    `main`" in str(type(task).__doc__) or "branch `main`" in str(type(task).__doc__)
    assert task.identity(DataSource()) == {"repository": task.hub.repository, "revision": "main"}
    first = task.identity(write_mirror(tmp_path / "a", task, SAMPLES[name]))
    assert set(first["files_sha256"]) == {path for paths in task.hub.files.values() for path in paths}
    assert task.identity(write_mirror(tmp_path / "b", task, SAMPLES[name])) == first
    assert task.identity(write_mirror(tmp_path / "c", task, SAMPLES[name][:2])) != first


def test_bc5cdr_names_tags_and_begins_every_entity(tmp_path: Path) -> None:
    task = task_class("bc5cdr")()
    splits = task.load(write_mirror(tmp_path, task, SAMPLES["bc5cdr"]))
    assert [example.tags for example in splits.test] == [
        ("B-Chemical", "O", "O", "B-Disease", "I-Disease"), ("B-Chemical", "I-Chemical", "B-Disease")]
    assert not [wrong for example in splits.train if (wrong := kind_named(task.kind).check(example))]


def test_dialogsum_joins_the_references_of_a_dialogue(tmp_path: Path) -> None:
    task = task_class("dialogsum")()
    examples = task.load(write_mirror(tmp_path, task, SAMPLES["dialogsum"])).test
    assert [example.source for example in examples] == [
        f'#Person1#: Hi, "{at}".\n#Person2#: Hello!' for at in range(2)]
    assert examples[0].targets == ("They greet.", "None")


def test_wnut17_names_tags_from_the_label_file(tmp_path: Path) -> None:
    task = unpinned("wnut17")
    splits = task.load(write_mirror(tmp_path, task, SAMPLES["wnut17"]))
    assert splits.train[0].tags == ("B-person", "I-person", "O")


def test_scitldr_joins_sentences_and_keeps_all_references(tmp_path: Path) -> None:
    task = unpinned("scitldr")
    example = task.load(write_mirror(tmp_path, task, SAMPLES["scitldr"])).test[0]
    assert example.source == "We do this. It works."
    assert example.targets == ("This works.", "Works.")


def test_xquad_keeps_a_paragraph_on_one_side(tmp_path: Path) -> None:
    task = unpinned("xquad")
    splits = task.load(write_mirror(tmp_path, task, SAMPLES["xquad"]))
    assert not {example.context for example in splits.train} & {example.context for example in splits.test}
    assert splits.notes["paragraphs"]["train"] + splits.notes["paragraphs"]["test"] == 20


def test_mirror_may_leave_out_the_data_folder(tmp_path: Path) -> None:
    task = unpinned("stsb")
    source = write_mirror(tmp_path, task, SAMPLES["stsb"])
    folder = tmp_path / task.hub.repository
    for file in (folder / "data").iterdir():
        file.rename(folder / file.name)
    assert task.unavailable(source) is None
    assert task.load(source).test[0].label == 0.9


def test_other_rows_than_the_pinned_are_refused_naming_both(tmp_path: Path) -> None:
    task = task_class("sst2")()
    source = write_mirror(tmp_path, task, SAMPLES["sst2"])
    found = fingerprint([{"text": row["text"], "label_text": row["label_text"]} for row in SAMPLES["sst2"]])
    with pytest.raises(UserError, match=f"{found}.*{task.rows_sha256['train']}"):
        task.load(source)


def test_other_rows_can_be_accepted_under_another_identity(tmp_path: Path) -> None:
    task = task_class("sst2")()
    strict = write_mirror(tmp_path, task, SAMPLES["sst2"])
    loose = DataSource(cache=strict.cache, mirror=strict.mirror, any_rows=True)
    assert len(task.load(loose).test) == 2
    assert task.identity(loose) != task.identity(strict)


def test_identity_needs_no_data(tmp_path: Path) -> None:
    for name in TASKS:
        task = task_class(name)()
        absent = DataSource(mirror=tmp_path / "absent")
        assert task.identity(absent)["rows_sha256"] == task.rows_sha256
        assert task.identity(DataSource())["revision"] == task.hub.revision


def test_missing_mirror_file_makes_the_task_unavailable(tmp_path: Path) -> None:
    task = task_class("sst2")()
    source = DataSource(cache=tmp_path, mirror=tmp_path)
    assert "SetFit/sst2/train.jsonl" in str(task.unavailable(source))
    with pytest.raises(UserError, match="does not hold"):
        task.load(source)


def test_missing_column_is_named(tmp_path: Path) -> None:
    task = unpinned("sst2")
    with pytest.raises(UserError, match="no column 'label_text', only text"):
        task.load(write_mirror(tmp_path, task, [{"text": "a"}]))


def test_damaged_file_is_reported(tmp_path: Path) -> None:
    task = unpinned("stsb")
    source = write_mirror(tmp_path, task, SAMPLES["stsb"])
    (tmp_path / task.hub.repository / task.hub.files["train"][0]).write_bytes(b"no parquet")
    with pytest.raises(UserError, match="damaged"):
        task.load(source)


def test_fingerprint_sees_rows_and_their_order() -> None:
    rows = [{"b": 1, "a": "x"}, {"a": "y", "b": 2}]
    assert fingerprint(rows) == fingerprint([{"a": "x", "b": 1}, {"b": 2, "a": "y"}])
    assert fingerprint(rows) != fingerprint(rows[::-1])


@pytest.mark.parametrize("name", TASKS)
def test_mirror_serves_the_pinned_rows(name: str, tmp_path: Path) -> None:
    source = DataSource(cache=tmp_path, mirror=mirror_folder())
    task = task_class(name)()
    splits = task.load(source)
    train, validation, test = TASKS[name][2]
    assert (len(splits.train), len(splits.test)) == (train, test)
    assert validation == (None if splits.validation is None else len(splits.validation))
