"""Keys and subsets: whatever can change a score changes the key, and nothing else does."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from click.testing import CliRunner

from tlbench import api, cli
from tlbench.canonical import added, canonical_json, digest
from tlbench.errors import UserError
from tlbench.grid import Cell, Condition, ModelRef, StrategyPart, StrategyRef, TaskRef, stream, subset
from tlbench.planning import Request, make_plan
from tlbench.registry import Registry
from tlbench.setups import FixedSteps, Learner, Lora, Phase, Plateau, Pretrained, Random, Recipe, Setup
from tlbench.sources import DataSource

CELL = Cell(
    Condition(
        TaskRef("task", 1, "text-classification", "accuracy", 500, {"rows": "abc"}, None),
        ModelRef("model", "encoder", "bert", "mean", {"files": {"config.json": "abc"}}),
        StrategyRef("lora", (StrategyPart("lora", 1, {"rank": 8}, None),), True, "none"),
        Setup(adapters=(Lora(),), phases=(Phase(stop=Plateau()), Phase(stop=FixedSteps()))),
        100,
    ),
    0,
)


@dataclasses.dataclass(frozen=True)
class Grown:
    """A value that gained a field after its keys were published."""

    old: int = 1
    new: int = added(0)


def test_field_added_later_keeps_keys_until_it_is_used() -> None:
    assert canonical_json(Grown()) == '{"old":1,"type":"Grown"}'
    assert canonical_json(Grown(new=2)) == '{"new":2,"old":1,"type":"Grown"}'
    assert Grown().new == 0


def other(value: Any) -> list[Any]:
    """Return values that differ from a field's value in the least way."""
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int):
        return [value + 1]
    if isinstance(value, float):
        return [value * 1.0000001 + 1e-12]
    if isinstance(value, str):
        return [value + "x"]
    if value is None:
        return ["x"]
    if isinstance(value, Mapping):
        return [{**value, "new": 1}, {}] if value else [{"new": 1}]
    if isinstance(value, tuple):
        return [value[:-1], (*value, value[-1])] if value else [("x",)]
    if isinstance(value, Pretrained):
        return [Random()]
    if isinstance(value, FixedSteps):
        return [Plateau()]
    return []


def variants(value: Any, path: str = "cell") -> Iterator[tuple[str, Any]]:
    """Yield (field, changed copy) for every field of a dataclass and of the dataclasses inside it."""
    if isinstance(value, tuple):
        for place, item in enumerate(value):
            for name, changed in variants(item, f"{path}[{place}]"):
                yield name, (*value[:place], changed, *value[place + 1 :])
    if isinstance(value, Mapping):
        for key, item in value.items():
            for changed in other(item):
                yield f"{path}[{key}]", {**value, key: changed}
    if not dataclasses.is_dataclass(value):
        return
    for field in dataclasses.fields(value):
        here, inner = f"{path}.{field.name}", getattr(value, field.name)
        for changed in other(inner):
            yield here, replace(value, **{field.name: changed})
        for name, changed in variants(inner, here):
            yield name, replace(value, **{field.name: changed})


def test_every_field_of_a_cell_changes_its_key() -> None:
    found = list(variants(CELL))
    keys = {changed.key for _, changed in found}
    assert CELL.key not in keys
    assert len(keys) == len(found)
    touched = {name.rpartition(".")[2].partition("[")[0] for name, _ in found}
    for cls in (Cell, Condition, TaskRef, ModelRef, StrategyRef, StrategyPart, Setup, Phase, Recipe, Plateau, Lora,
                Learner):
        names = {field.name for field in dataclasses.fields(cls)}
        assert names - touched <= {"condition", "task", "model", "strategy", "setup", "learner", "recipe"}


def test_members_of_a_union_never_share_a_key() -> None:
    assert len({digest(value) for value in (Pretrained(), Random(), FixedSteps(), None, {}, ())}) == 6


def test_key_is_the_documented_hash_of_the_canonical_json() -> None:
    assert CELL.key == digest(CELL, 32)
    assert len(CELL.key) == 32
    assert replace(CELL).key == CELL.key


# --- what does not change a key -------------------------------------------------------------------------------------

WANTED = ("toy-topic",), ("finetune", "lora(rank=2)", "floor")


def keys_of(registry: Registry, source: DataSource, *models: Path, **changes: Any) -> list[str]:
    request = Request(*WANTED, tuple(map(str, models)), replicates=2)
    return [cell.key for cell in make_plan(replace(request, **changes), registry, source).cells]


def test_place_of_a_model_changes_no_key(
    registry: Registry, source: DataSource, zoo: Callable[..., Path], tmp_path: Path
) -> None:
    folder = zoo("encoder")
    copy = shutil.copytree(folder, tmp_path / "elsewhere" / folder.name)
    keys = keys_of(registry, source, folder)
    del registry.models[folder.name]
    assert keys_of(registry, source, copy) == keys


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "config.json", "merges.txt"])
def test_content_of_a_model_changes_its_keys(
    name: str, registry: Registry, source: DataSource, zoo: Callable[..., Path], tmp_path: Path
) -> None:
    folder = shutil.copytree(zoo("encoder"), tmp_path / "m")
    keys = keys_of(registry, source, folder)
    with (folder / name).open("ab") as file:
        file.write(b"\n")
    changed = keys_of(registry, source, folder)
    assert len(changed) == len(keys) == 6
    assert keys[:2] == changed[:2]  # the floor uses no model
    assert not set(keys[2:]) & set(changed)


def test_two_models_of_one_name_are_refused(
    registry: Registry, source: DataSource, zoo: Callable[..., Path], tmp_path: Path
) -> None:
    folder = zoo("encoder")
    copy = shutil.copytree(folder, tmp_path / folder.name)
    with pytest.raises(UserError, match="already taken"):
        keys_of(registry, source, folder, copy)


def test_data_source_changes_no_key(
    registry: Registry, source: DataSource, zoo: Callable[..., Path], tmp_path: Path
) -> None:
    keys = keys_of(registry, source, zoo("encoder"))
    assert keys_of(registry, DataSource(cache=tmp_path, mirror=tmp_path), zoo("encoder")) == keys


def test_precision_policy_changes_keys(registry: Registry, source: DataSource, zoo: Callable[..., Path]) -> None:
    keys = keys_of(registry, source, zoo("encoder"))
    assert not set(keys) & set(keys_of(registry, source, zoo("encoder"), precision="fp32"))


def test_source_of_a_file_plugin_changes_keys(
    toys: ModuleType, source: DataSource, zoo: Callable[..., Path], tmp_path: Path
) -> None:
    from tlbench import registry as plugins

    keys = []
    for end in ("", "\n# edited\n"):
        path = tmp_path / "toys.py"
        path.write_text(Path(str(toys.__file__)).read_text(encoding="utf-8") + end, encoding="utf-8")
        keys.append(keys_of(plugins.load([path]), source, zoo("encoder")))
    assert not set(keys[0]) & set(keys[1])


@pytest.mark.parametrize("flags", [
    ["--workers", "3"], ["--out", "x"], ["--fresh"], ["--retry-failed"], ["--no-predictions"], ["--offline"],
    ["--json"], ["--mirror", "."], ["--strict"],
])
def test_flags_that_say_how_change_no_key(
    flags: list[str], toys: ModuleType, source: DataSource, zoo: Callable[..., Path], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[list[str]] = []

    def planned(request: Request, options: Any, source: DataSource, plugins: Any, *rest: Any) -> Any:
        asked.append([cell.key for cell in make_plan(request, api.open_registry(plugins), source).cells])
        raise UserError("planned")

    monkeypatch.setattr(api, "execute", planned)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TLBENCH_CACHE", str(tmp_path / "cache"))
    usual = ["run", "--plugin", str(toys.__file__), "--tasks", "toy-topic", "--strategies", "floor,finetune",
             "--models", str(zoo("encoder")), "--replicates", "1"]
    for arguments in (usual, [*usual, *flags]):
        result = CliRunner().invoke(cli.cli, arguments)
        assert isinstance(result.exception, UserError), result.output
    assert asked[0] == asked[1] != []


def test_command_line_leaves_out_this_machines_paths() -> None:
    given = ["run", "--tasks", "a", "--out", "x", "--mirror=/data", "--workers", "2", "--fresh", "--budgets", "100"]
    assert api.command_line(given) == "tlbench run --tasks a --budgets 100"


# --- subsets and streams --------------------------------------------------------------------------------------------

IDS = [f"id-{number}" for number in range(500)]


def drawn(budget: Any, replicate: int = 0, ids: list[str] = IDS, validation: bool = False) -> tuple[list[str], ...]:
    cell = Cell(replace(CELL.condition, budget=budget), replicate)
    return tuple([ids[i] for i in part] for part in subset(cell, ids, validation))


def test_budgets_nest_and_count_validation() -> None:
    before: tuple[set[str], set[str]] = (set(), set())
    for budget in (10, 37, 100, 499, "full"):
        train, held = drawn(budget)
        assert len(train) + len(held) == (500 if budget == "full" else budget)
        assert not set(train) & set(held)
        assert before[0] <= set(train)
        assert before[1] <= set(held)
        before = (set(train), set(held))


def test_every_fifth_example_is_validation() -> None:
    order, _ = drawn("full", validation=True)
    train, held = drawn(100)
    assert held == order[4:100:5]
    assert train == [name for place, name in enumerate(order[:100]) if place % 5 != 4]


def test_official_validation_leaves_the_whole_training_split() -> None:
    train, held = drawn("full", validation=True)
    assert sorted(train) == sorted(IDS)
    assert held == []
    assert drawn(100, validation=True) == drawn(100)


def test_subset_depends_neither_on_the_order_of_the_file_nor_on_the_model() -> None:
    assert drawn(100) == drawn(100, ids=IDS[::-1])
    cell = Cell(replace(CELL.condition, model=None, setup=Setup(), precision="fp32"), 0)
    assert subset(cell, IDS, False) == subset(CELL, IDS, False)


def test_replicates_and_tasks_draw_other_subsets() -> None:
    task = replace(CELL.condition.task, name="other")
    elsewhere = subset(Cell(replace(CELL.condition, task=task), 0), IDS, False)[0]
    assert len({tuple(drawn(100, r)[0]) for r in range(5)} | {tuple(IDS[i] for i in elsewhere)}) == 6


def test_streams_differ_by_purpose_budget_and_replicate_but_not_by_strategy() -> None:
    strategy = replace(CELL.condition.strategy, name="other")
    assert stream(Cell(replace(CELL.condition, strategy=strategy), 0), "init") == stream(CELL, "init")
    seeds = {
        stream(CELL, "init"), stream(CELL, "order"), stream(replace(CELL, replicate=1), "init"),
        stream(Cell(replace(CELL.condition, budget=101), 0), "init"),
    }
    assert len(seeds) == 4
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_a_part_is_taken_out_unless_the_rest_is_another_method(
    registry: Registry, source: DataSource, zoo: Callable[..., Path]
) -> None:
    """Without what makes the weights random, or learns by itself, a row is no longer the same with less."""

    def planned(*strategies: str) -> list[str]:
        request = Request(("toy-topic",), strategies, (str(zoo("encoder")),), replicates=1, ablate=True)
        return [cell.condition.strategy.name for cell in make_plan(request, registry, source).cells]

    for whole, rests in {
        "linear": [],
        "scratch": [],
        "scratch+distill": ["scratch"],
        "scratch+augment+distill": ["scratch+distill", "scratch+augment"],
        "augment+self-pretrain": ["self-pretrain"],
        "hybrid-text+feature-extraction+augment": [],  # it has no meaning here
        "augment+lora": ["lora", "augment"],
        "tapt": ["finetune"],
    }.items():
        assert planned(whole) == [whole, *rests]
    assert planned("lora", "augment", "finetune") == ["lora", "finetune", "augment"]


def test_sources_bring_the_rows_that_a_transfer_matrix_compares_with(
    registry: Registry, source: DataSource, zoo: Callable[..., Path]
) -> None:
    """All of three toys, as targets and as sources; a task of the suite that is not there is neither."""
    tasks = ("toy-topic", "toy-score", "toy-names")
    few = replace(registry, tasks={name: registry.tasks[name] for name in (*tasks, "sst2")})

    def planned(*strategies: str, sources: tuple[str, ...] = ("all",)) -> dict[str, list[str]]:
        request = Request(("all",), strategies, (str(zoo("encoder")),), replicates=1, sources=sources,
                          suite="public")
        plan = make_plan(request, few, source)
        return {name: [cell.condition.strategy.name for cell in plan.cells
                       if cell.condition.task.name == name and cell.key not in plan.unsupported] for name in tasks}

    for name, rows in planned("intermediate").items():
        others = sorted({*tasks} - {name})
        assert sorted(rows) == ["finetune", *(f"intermediate(source={other})" for other in others)]
    assert sorted(planned("lora+multitask+augment", sources=("toy-score",))["toy-topic"]) == [
        "lora+augment", "lora+multitask(source=toy-score)+augment"]
    assert planned("intermediate", sources=("toy-score",))["toy-score"] == []
    assert sorted(planned("finetune", "lora", "intermediate", sources=("toy-score",))["toy-topic"]) == [
        "finetune", "intermediate(source=toy-score)", "lora"]
