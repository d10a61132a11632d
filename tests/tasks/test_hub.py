"""A task of the Hub in a few lines, from its files to examples."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tlbench import DataSource, Example, HubFiles, HubTask, TextExample, UserError
from tlbench.checks import check_task
from tlbench.sources import fingerprint

FILES = {split: (f"{split}.jsonl",) for split in ("train", "validation", "test")} | {"labels": ("names.json",)}
ROWS = [{"text": f"text {number}", "label": number % 2, "other": number} for number in range(12)]


class Reviews(HubTask):
    """Twelve texts of two classes, the same in each split but for their ids."""

    name, kind, default_budget = "reviews", "text-classification", "full"
    hub = HubFiles("somebody/reviews", "0" * 40, FILES)
    columns = ("text", "label")

    def to_example(self, name: str, row: Mapping[str, Any]) -> Example:
        """Return a text with its label."""
        return TextExample(name, f"{name}: {row['text']}", "good" if row["label"] else "bad")


@pytest.fixture
def mirror(tmp_path: Path) -> DataSource:
    folder = tmp_path / "somebody" / "reviews"
    folder.mkdir(parents=True)
    for split in ("train", "validation", "test"):
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    (folder / "names.json").write_text('{"bad": 0, "good": 1}', encoding="utf-8")
    return DataSource(cache=tmp_path / "cache", mirror=tmp_path, offline=True)


def test_one_method_makes_a_task_that_keeps_the_contract(mirror: DataSource) -> None:
    report = check_task(Reviews(), mirror)
    assert report.ok, report.text()
    splits = Reviews().load(mirror)
    assert [example.id for example in splits.test][:2] == ["test-0", "test-1"]
    assert [example.label for example in splits.train][:2] == ["bad", "good"]
    assert len(splits.validation or ()) == 12


def test_rows_are_cut_to_the_columns_and_compared_with_their_pin(mirror: DataSource) -> None:
    kept = [{"text": row["text"], "label": row["label"]} for row in ROWS]
    assert Reviews().rows(mirror, "train") == kept
    pinned = type("Pinned", (Reviews,), {"rows_sha256": {"train": fingerprint(kept)}})()
    assert pinned.rows(mirror, "train") == kept
    assert pinned.identity(mirror)["rows_sha256"] == {"train": fingerprint(kept)}
    other = type("Other", (Reviews,), {"rows_sha256": {"train": fingerprint(ROWS)}})()
    with pytest.raises(UserError, match="the task pins"):
        other.rows(mirror, "train")


def test_names_of_numbers_are_read_and_pinned(mirror: DataSource, tmp_path: Path) -> None:
    assert Reviews().numbered(mirror, "labels") == {0: "bad", 1: "good"}
    other = type("Other", (Reviews,), {"rows_sha256": {"labels": "0" * 64}})()
    with pytest.raises(UserError, match=r"somebody/reviews \(labels\) has the row fingerprint"):
        other.numbered(mirror, "labels")
    (tmp_path / "somebody" / "reviews" / "names.json").write_text("[1, 2]", encoding="utf-8")
    with pytest.raises(UserError, match="does not map names to numbers: fetch it again"):
        Reviews().numbered(mirror, "labels")


def test_a_missing_file_is_said_before_anything_is_read(mirror: DataSource, tmp_path: Path) -> None:
    assert Reviews().unavailable(mirror) is None
    (tmp_path / "somebody" / "reviews" / "test.jsonl").unlink()
    assert "does not hold somebody/reviews/test.jsonl" in str(Reviews().unavailable(mirror))


def test_a_task_may_lack_a_validation_split(mirror: DataSource) -> None:
    files = {split: paths for split, paths in FILES.items() if split != "validation"}
    task = type("Two", (Reviews,), {"hub": HubFiles("somebody/reviews", "0" * 40, files)})()
    assert task.load(mirror).validation is None
    assert check_task(task, mirror).ok


@pytest.mark.parametrize("given", [{"hub": Reviews.hub}, {"to_example": Reviews.to_example}])
def test_an_unfinished_task_is_refused_where_it_is_written(given: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match="Bare needs `hub`, and `to_example`, `examples` or `load`"):
        type("Bare", (HubTask,), {"name": "bare", "kind": "text-classification", **given})
    type("Shared", (HubTask,), given)  # without a name it is no task yet
