"""What a model's folder says it has read, and what follows from it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tlbench_plugins.embedded_models import MINI

from tlbench.cells import Shop, run_cell
from tlbench.engine.families import Source
from tlbench.engine.place import Place
from tlbench.engine.reading import title_of
from tlbench.model import UNKNOWN
from tlbench.planning import Plan, Request, make_plan
from tlbench.references import model_named
from tlbench.registry import Registry, load
from tlbench.sources import DataSource
from tlbench.task import TaskRef

SIDES = ("apidoc-training-side", "ui-strings-training-side")
EMBEDDED = {"apidoc": {"packages": {}}, "ui-strings": {"packages": {}}}
OWN = {"files": [{"file": "text.txt"}], "documents": "one per line"}
SHAPE = {"name": "", "shape": {"family": "encoder"}}


def described(folder: Path, start: Any, provenance: dict[str, Any], **given: Any) -> Path:
    """Write the facts of a pre-training beside the weights in a folder."""
    folder.mkdir(exist_ok=True)
    weights = folder / "model.safetensors"
    if not weights.exists():
        weights.write_bytes(b"weights")
    facts = {"key": "1", "weights_sha256": hashlib.sha256(weights.read_bytes()).hexdigest(), "start": start,
             "corpus": {"provenance": provenance}, **given}
    (folder / "pretraining.json").write_text(json.dumps(facts), encoding="utf-8")
    return folder


@pytest.mark.parametrize(("start", "provenance", "expected"), [
    (SHAPE, EMBEDDED, SIDES),
    (SHAPE, {"apidoc": {}}, SIDES[:1]),
    (SHAPE, OWN, ()),
    (SHAPE, {}, ()),
    ({"name": "minilm", "untrained": {}, "training_sources": ["squad"]}, EMBEDDED, SIDES),
    ({"name": "minilm", "model": {}, "training_sources": ["squad"]}, EMBEDDED, (*SIDES[:1], "squad", SIDES[1])),
    ({"name": "minilm", "model": {}, "training_sources": ["squad"]}, OWN, ("squad", UNKNOWN)),
    ({"name": "owner/name", "model": {}, "training_sources": []}, EMBEDDED, (*SIDES, UNKNOWN)),
    ({"name": "owner/name", "model": {}}, EMBEDDED, (*SIDES, UNKNOWN)),
    ({"name": "owner/name", "model": {}, "training_sources": []}, OWN, ()),
    ({"name": "mine", "model": {}, "training_sources": ["squad", UNKNOWN]}, EMBEDDED,
     (*SIDES[:1], "squad", SIDES[1], UNKNOWN)),
])
def test_pretrained_folder_declares_what_its_facts_say(
    start: dict[str, Any], provenance: dict[str, Any], expected: tuple[str, ...], tmp_path: Path
) -> None:
    model = model_named(str(described(tmp_path / "mine", start, provenance)), load())
    assert (model.name, model.training_sources) == ("mine", expected)


@pytest.mark.parametrize("damage", [
    lambda folder: (folder / "pretraining.json").unlink(),
    lambda folder: (folder / "pretraining.json").write_bytes(b"\xff{"),
    lambda folder: (folder / "pretraining.json").write_text("[1]"),
    lambda folder: (folder / "pretraining.json").write_text('{"lr": 1}'),
    lambda folder: (folder / "model.safetensors").write_bytes(b"other weights"),
    lambda folder: (folder / "model.safetensors").unlink(),
    lambda folder: described(folder, SHAPE, EMBEDDED, corpus=None),
    lambda folder: described(folder, 3, EMBEDDED),
])
def test_folder_without_facts_of_its_weights_declares_nothing(damage: Callable[[Path], Any], tmp_path: Path) -> None:
    folder = described(tmp_path / "mine", SHAPE, EMBEDDED)
    assert model_named(str(folder), load()).training_sources == SIDES
    damage(folder)
    assert model_named(str(folder), load()).training_sources == ()


def test_model_that_ships_declares_what_its_folder_says(tmp_path: Path) -> None:
    shipped = MINI.folder()
    assert shipped is not None
    (tmp_path / "copy").mkdir()
    for name in ("pretraining.json", "model.safetensors"):
        (tmp_path / "copy" / name).symlink_to(shipped / name)
    assert model_named(str(tmp_path / "copy"), load()).training_sources == MINI.training_sources == SIDES


@pytest.fixture
def tiny(zoo: Callable[..., Path], tmp_path: Path) -> Path:
    """Return a folder of a tiny model that no other test writes into."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    for path in zoo("encoder").iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


def plan_of(folder: Path, registry: Registry, source: DataSource) -> Plan:
    request = Request(("toy-topic",), ("finetune+short",), (str(folder),), replicates=1)
    return make_plan(request, registry, source)


@pytest.mark.parametrize(("start", "sources", "declared", "shared"), [
    (SHAPE, (), "no", []),
    (SHAPE, SIDES[:1], "yes", [SIDES[0]]),
    ({"name": "owner/name", "model": {}}, (), "unknown", []),
    ({"name": "owner/name", "model": {}}, (UNKNOWN,), "unknown", []),
    ({"name": "owner/name", "model": {}}, SIDES[1:], "yes", [SIDES[1]]),
    (None, SIDES, "unknown", []),
])
def test_leak_flag_of_a_pretrained_folder_moves_no_key(
    start: dict[str, Any] | None, sources: tuple[str, ...], declared: str, shared: list[str], tiny: Path,
    registry: Registry, source: DataSource, monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch.set_num_threads(1)  # tiny matrices gain nothing from more
    plain = [cell.key for cell in plan_of(tiny, load([Path(__file__).with_name("toys.py")]), source).cells]
    if start:
        described(tiny, start, EMBEDDED)
    monkeypatch.setattr(type(registry.task("toy-topic")), "sources", sources)
    plan = plan_of(tiny, registry, source)
    assert [cell.key for cell in plan.cells] == plain
    for cell in plan.cells:
        facts = run_cell(cell, Shop(registry, source, Place(), "fp32")).facts
        assert facts["status"] in ("ok", "collapsed"), facts["reason"]
        assert facts["contamination"]["declared"] == declared
        assert facts["contamination"]["sources"] == shared


def test_embedded_text_is_read_again_by_a_folder_that_has_read_it(tiny: Path) -> None:
    task = TaskRef("task", 1, "text-classification", "accuracy", 10, {"apidoc": "hash"})
    titles = {}
    for name, provenance in (("embedded", EMBEDDED), ("own", OWN)):
        described(tiny, SHAPE, provenance)
        model = model_named(str(tiny), load())
        source = Source(model, model.architecture(offline=True), generates=False, offline=True)
        titles[name] = [title_of(corpus, False, source, task) for corpus in ("embedded", "task")]
    assert titles == {"embedded": ["the embedded corpora, read again", "the task's text, read again"],
                      "own": ["the embedded corpora", "the task's text"]}
