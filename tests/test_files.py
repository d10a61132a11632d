"""Files of the cache are whole, readable by others, and say in one sentence what is wrong."""

from __future__ import annotations

import stat
from pathlib import Path

import numpy as np
import pytest

from tlbench import UserError, data, files
from tlbench import registry as plugins
from tlbench.references import task_ref
from tlbench.registry import Registry
from tlbench.sources import DataSource
from tlbench.stages.store import StageStore


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_what_is_written_has_the_mode_that_other_files_have(tmp_path: Path) -> None:
    (tmp_path / "usual.txt").write_text("")
    (tmp_path / "usual").mkdir()
    files.write_cache(tmp_path / "deep" / "written.bin", b"content")
    StageStore(tmp_path).get_or_make("stage", {"a": 1}, lambda: {"array": np.zeros(2)})
    assert (tmp_path / "deep" / "written.bin").read_bytes() == b"content"
    assert mode(tmp_path / "deep" / "written.bin") == mode(tmp_path / "usual.txt")
    assert mode(StageStore(tmp_path).path("stage", {"a": 1})) == mode(tmp_path / "usual")


def test_a_write_that_fails_leaves_the_old_file_and_nothing_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    files.write_atomically(tmp_path / "kept", b"old")
    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(UserError, match=r"cannot be written to \(No space left on device\): free some space"):
        files.write_cache(tmp_path / "kept", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
    assert (tmp_path / "kept").read_bytes() == b"old"


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cache folder '.*file/inner' cannot be written to"):
        files.write_cache(tmp_path / "file" / "inner" / "a", b"")


def test_task_is_prepared_anew_when_the_code_that_parses_changed(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = DataSource(cache=tmp_path, offline=True)
    task = registry.task("toy-topic")
    ref = task_ref(task, registry, source)
    kept = data.task_data(task, ref, source)
    assert data.task_data(task, ref, source) == kept
    assert len(list((tmp_path / "tasks").iterdir())) == 1
    monkeypatch.setattr(data.store, "code", lambda: "edited")
    assert data.task_data(task, ref, source) == kept
    assert len(list((tmp_path / "tasks").iterdir())) == 2


def test_task_is_prepared_anew_when_a_class_that_it_is_made_of_was_edited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = plugins.load([])
    read, edited = [], ""

    def hashed(path: Path) -> str:
        read.append(path.name)
        return path.name + (" edited" if path.name == edited else "")

    monkeypatch.setattr(data, "file_sha256", hashed)
    found = {}
    for edited in ("", "bc5cdr.py", "hub.py", "task.py", "iob2.py", "sst2.py"):
        found[edited] = data._code(registry.task("bc5cdr"))
    assert all(found[name] != found[""] for name in ("bc5cdr.py", "hub.py", "task.py", "iob2.py"))
    assert found["sst2.py"] == found[""]
