"""Grid files: every flag has its key, arrays and comma strings mean the same, and the command line wins."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tlbench import cli
from tlbench.gridfile import GridFile, flags, read
from tlbench.records import Store

GRID = """
tasks = ["reviews"]
data = "reviews.csv"
label = "stars"
strategies = ["floor", "linear"]
budgets = [20, "full"]
replicates = 2
workers = 1
offline = true
out = "made/run"
"""


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with a grid file and its data, which is not the current one."""
    rows = [f"text number {at} is {'fine' if at % 2 else 'dull'},{at % 2}" for at in range(60)]
    write(tmp_path / "grids" / "reviews.csv", "\n".join(["text,stars", *rows, ""]))
    write(tmp_path / "grids" / "grid.toml", GRID)
    return tmp_path / "grids"


@pytest.fixture
def tlbench(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Callable[..., str]:
    """Return a function that runs the command line in another folder and returns all that it printed."""
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.setenv("TLBENCH_CACHE", str(tmp_path / "cache"))
    for name in ("HF_HUB_OFFLINE", "TLBENCH_MIRROR"):  # the environment would win over the file
        monkeypatch.delenv(name, raising=False)

    def run(*arguments: object) -> str:
        monkeypatch.setattr("sys.argv", ["tlbench", *map(str, arguments)])
        capsys.readouterr()
        cli.main()
        return "".join(capsys.readouterr())

    return run


# --- reading --------------------------------------------------------------------------------------------------------


def options(command: Any) -> set[str]:
    return {parameter.opts[0].removeprefix("--") for parameter in command.params}


def test_every_flag_of_run_has_its_key() -> None:
    keys = {field.alias for field in GridFile.model_fields.values()}
    assert keys == options(cli.run_command) - {"grid"}
    assert options(cli.plan_command) - {"grid"} < keys


@pytest.mark.parametrize(("array", "text"), [
    ('tasks = ["a", "b"]', 'tasks = "a,b"'),
    ('strategies = ["lora(rank=8,alpha=4)", "floor+linear"]', 'strategies = "lora(rank=8,alpha=4),floor+linear"'),
    ('models = ["owner/name", "minilm"]', 'models = "owner/name, minilm"'),
    ('budgets = [100, "full"]', 'budgets = "100,full"'),
    ("budgets = [100]", "budgets = 100"),
    ('data = ["a.csv"]', 'data = "a.csv"'),
])
def test_array_and_string_of_the_flag_mean_the_same(array: str, text: str, tmp_path: Path) -> None:
    one, other = read(write(tmp_path / "one.toml", array)), read(write(tmp_path / "other.toml", text))
    assert one == other
    assert flags(one) == flags(other)


def test_paths_are_relative_to_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/someone")
    (tmp_path / "grids" / "folder").mkdir(parents=True)
    text = """
    data = ["a.csv", "/data/b.csv", "~/c.csv"]
    plugin = "../p.py"
    out = "run"
    mirror = "hub"
    models = ["minilm", "google-bert/bert", "package:acme/model", "./absent", "folder", "/weights"]
    """
    write(Path("grids/grid.toml"), text)
    assert read(Path("grids/grid.toml")) == {
        "data": ["grids/a.csv", "/data/b.csv", "/home/someone/c.csv"],
        "plugin": ["grids/../p.py"],
        "out": "grids/run",
        "mirror": "grids/hub",
        "models": "minilm,google-bert/bert,package:acme/model,./grids/absent,./grids/folder,/weights",
    }


def test_flags_say_what_the_file_said() -> None:
    said = {"tasks": "a,b", "replicates": 3, "data": ["a.csv", "b c.csv"], "offline": True, "any-rows": False}
    assert flags(said) == ["--tasks", "a,b", "--replicates", "3", "--data", "a.csv", "--data", "b c.csv", "--offline"]


# --- running --------------------------------------------------------------------------------------------------------


def test_run_takes_the_file_and_its_command_reproduces_it(
    folder: Path, tlbench: Callable[..., str], tmp_path: Path
) -> None:
    assert "8 cells run, 0 reused" in tlbench("run", "--grid", folder / "grid.toml")
    records = Store(folder / "made" / "run").load()
    assert {record.budget["k"] for record in records} == {20, "full"}
    (command,) = {record.environment["command"] for record in records}
    assert command == (
        f"tlbench run --data {folder / 'reviews.csv'} --label stars --tasks reviews --strategies floor,linear "
        "--budgets 20,full --replicates 2 --offline"
    )
    arguments = shlex.split(command)[1:]
    assert "0 cells run, 8 reused" in tlbench(*arguments, "--out", folder / "made" / "run")


def test_flag_on_the_command_line_wins(folder: Path, tlbench: Callable[..., str], tmp_path: Path) -> None:
    said = tlbench("run", "--strategies=floor", f"--grid={folder / 'grid.toml'}", "--budgets", 30, "--out", "mine")
    assert "2 cells run" in said
    records = Store(tmp_path / "elsewhere" / "mine").load()
    assert {record.budget["k"] for record in records} == {30}
    assert {record.strategy["name"] for record in records} == {"floor"}
    command = records[0].environment["command"]
    assert command == (
        f"tlbench run --strategies=floor --budgets 30 --data {folder / 'reviews.csv'} --label stars --tasks reviews "
        "--replicates 2 --offline"
    )
    assert not (folder / "made").exists()


def test_list_on_the_command_line_replaces_the_files(folder: Path, tlbench: Callable[..., str]) -> None:
    other = write(folder / "other.csv", (folder / "reviews.csv").read_text(encoding="utf-8"))
    said = tlbench("run", "--grid", folder / "grid.toml", "--data", other, "--tasks", "all,other", "--strategies",
                   "floor", "--budgets", 20, "--replicates", 1, "--suite", "public")
    assert "reviews" not in said
    assert "other" in said


def test_plan_takes_the_same_file(folder: Path, tlbench: Callable[..., str]) -> None:
    tlbench("run", "--grid", folder / "grid.toml")
    assert "0 cells to run, 8 reused" in tlbench("plan", "--grid", folder / "grid.toml")
