"""Wrong labels on purpose: which labels change, by how much, and that nothing else does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tlbench import api
from tlbench.errors import UnsupportedError, UserError
from tlbench.grid import Cell, Condition, StrategyRef
from tlbench.iob2 import entities
from tlbench.noise import with_wrong_labels
from tlbench.planning import Request, make_plan
from tlbench.records import Store
from tlbench.registry import Registry
from tlbench.setups import Setup
from tlbench.sources import DataSource
from tlbench.task import Example, GenerationExample, QuestionExample, Span, TaskRef, TextExample, TokenExample

CLASSES = ("a", "b", "c")
LABELS = ("O", "B-x", "I-x", "B-y", "B-z", "I-z")


def cell(kind: str, share: float, replicate: int = 0) -> Cell:
    task = TaskRef("toy", 1, kind, "accuracy", None, {}, None)  # type: ignore[arg-type]
    return Cell(Condition(task, None, StrategyRef("x", (), False, "none"), Setup(), 100, label_noise=share), replicate)


def texts(count: int = 1000) -> list[Example]:
    return [TextExample(str(i), f"text {i}", CLASSES[i % 3]) for i in range(count)]


def changed(share: float, replicate: int = 0) -> dict[str, str]:
    given = texts()
    made, wrong = with_wrong_labels(cell("text-classification", share, replicate), given, given, CLASSES)
    assert [e.id for e in made] == [e.id for e in given]
    found = {
        new.id: str(new.label)
        for old, new in zip(given, made, strict=True)
        if isinstance(old, TextExample) and isinstance(new, TextExample) and old.label != new.label
    }
    assert wrong == len(found)
    return found


def test_share_of_the_classes_becomes_another_one_and_low_rates_nest_in_higher_ones() -> None:
    few, more = changed(0.1), changed(0.3)
    assert 70 < len(few) < 130
    assert 250 < len(more) < 350
    assert few.items() <= more.items()
    assert set(more.values()) == set(CLASSES)
    assert changed(0.1, replicate=1).keys() != few.keys()


def test_mention_keeps_its_place_and_gets_another_type() -> None:
    given = [TokenExample(str(i), ("a", "b", "c", "d"), ("B-x", "I-x", None, "B-y")) for i in range(400)]
    made, wrong = with_wrong_labels(cell("token-classification", 0.25), given, given, LABELS)
    seen = 0
    for old, new in zip(given, made, strict=True):
        assert isinstance(new, TokenExample)
        assert new.tags[2] is None
        before, after = (entities([tag or "O" for tag in e.tags]) for e in (old, new))
        assert {place[1:] for place in before} == {place[1:] for place in after}
        seen += len(before - after)
        assert set(new.tags) <= {None, *LABELS}  # no mention of two words becomes a y, which never has two
    assert seen == wrong
    assert 140 < wrong < 260


def test_number_and_target_come_from_another_example() -> None:
    numbers = [TextExample(str(i), "t", float(i)) for i in range(200)]
    made, wrong = with_wrong_labels(cell("text-regression", 0.5), numbers, numbers, ())
    assert 60 < wrong < 140
    assert {e.label for e in made if isinstance(e, TextExample)} <= {e.label for e in numbers}
    pairs = [GenerationExample(str(i), "s", (f"t{i}",)) for i in range(200)]
    told, wrong = with_wrong_labels(cell("text-generation", 0.5), pairs, pairs, ())
    assert wrong == sum(new != old for new, old in zip(told, pairs, strict=True))
    assert 60 < wrong < 140


def test_questions_and_a_single_type_are_refused_with_a_reason() -> None:
    question = QuestionExample("1", "q", "context", (Span("context", 0),))
    with pytest.raises(UnsupportedError, match="answer span"):
        with_wrong_labels(cell("question-answering", 0.1), [question], [question], ())
    tagged = TokenExample("1", ("a",), ("B-x",))
    with pytest.raises(UnsupportedError, match="second label beside 'x'"):
        with_wrong_labels(cell("token-classification", 0.1), [tagged], [tagged], ("O", "B-x"))


def test_noisy_run_has_its_own_table_and_its_records_count_the_wrong_labels(
    tmp_path: Path
) -> None:
    from tlbench.workshop import PluginSpec, open_registry

    rows = "".join(f"text {i % 97} of {'xy'[i % 2]},{'xy'[i % 2]}\n" for i in range(400))
    (tmp_path / "noisy.csv").write_text("text,label\n" + rows, encoding="utf-8")
    plugins = PluginSpec(data=({"path": tmp_path / "noisy.csv"},))
    source = DataSource(cache=tmp_path / "cache", offline=True)
    usual = Request(("noisy",), ("floor", "linear"), budgets=(100,), replicates=1)
    for request in (usual, replace(usual, label_noise=0.3)):
        api.execute(request, api.Options(tmp_path / "run"), source, plugins, registry=open_registry(plugins))
    records = {(r.strategy["name"], r.labels): r for r in Store(tmp_path / "run").load()}
    assert len(records) == 4
    clean, noisy = records["linear", "100"], records["linear", "100~0.3"]
    assert 15 <= noisy.budget["wrong_labels"] <= 45
    assert "wrong_labels" not in clean.budget
    assert clean.comparability != noisy.comparability
    assert clean.task["fingerprints"] == noisy.task["fingerprints"]
    assert noisy.evaluation is not None
    assert noisy.evaluation.report["per_class"].keys() == {"x", "y"}
    text = (tmp_path / "run" / "README.md").read_text(encoding="utf-8")
    assert "## noisy@100\n" in text
    assert "## noisy@100~0.3\n" in text
    assert "made wrong on purpose" in text


def test_plan_refuses_an_impossible_share_and_leaves_questions_out(
    registry: Registry, source: DataSource
) -> None:
    with pytest.raises(UserError, match="--label-noise is 1"):
        make_plan(Request(("toy-topic",), ("floor",), label_noise=1.0), registry, source)
    plan = make_plan(Request(("toy-where",), ("floor",), replicates=1, label_noise=0.1), registry, source)
    assert "answer span" in plan.unsupported[plan.cells[0].key]
