"""Bad input: one clear sentence, exit code 2 (1 for failed cells), no traceback, and no finished record touched."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tlbench import cli, registry, runner
from tlbench.records import Store
from tlbench.sources import DataSource


@dataclass(frozen=True)
class Said:
    """What a command answered."""

    code: int
    out: str
    err: str

    @property
    def sentence(self) -> str:
        """Return the one line of the error; there is no other and no traceback."""
        assert self.code == 2, self
        assert "Traceback" not in self.err
        lines = [line for line in self.err.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1, self.err
        return lines[0]


Command = Callable[..., Said]


@pytest.fixture
def tlbench(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Command:
    """Return a function that runs the command line in this process, in an empty folder with a cache of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TLBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    def run(*arguments: object) -> Said:
        monkeypatch.setattr("sys.argv", ["tlbench", *map(str, arguments)])
        capsys.readouterr()
        code = 0
        try:
            cli.main()
        except SystemExit as end:
            code = int(end.code or 0)
        captured = capsys.readouterr()
        return Said(code, captured.out, captured.err)

    return run


@pytest.fixture
def reviews(tmp_path: Path) -> Path:
    """Return the data file that `finished_run` was made from."""
    rows = [f"text number {at} is {'fine' if at % 2 else 'dull'},{'good' if at % 2 else 'bad'}" for at in range(60)]
    return write(tmp_path / "reviews.csv", "\n".join(["text,label", *rows, ""]))


@pytest.fixture
def finished(finished_run: Path, tmp_path: Path) -> Path:
    """Return a copy of a finished run."""
    return Path(shutil.copytree(finished_run, tmp_path / "run"))


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def grid(data: Path, out: Path | str, *more: object) -> tuple[object, ...]:
    """Return the arguments that repeat `finished_run`."""
    return ("run", "--data", data, "--tasks", data.stem, "--strategies", "floor", "--replicates", 2, "--offline",
            "--out", out, *more)


def contents(folder: Path) -> dict[str, str]:
    """Return every file under the records with its hash."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted((folder / "records").iterdir())}


# --- names and numbers


@pytest.mark.parametrize(("arguments", "expected"), [
    (["--tasks", "api-topik"], "task 'api-topik' is not known: did you mean 'api-topic'"),
    (["--tasks", ""], "nothing is left to run (no task was named)"),
    (["--strategies", "fintune"], "strategy 'fintune' is not known: did you mean 'finetune'"),
    (["--strategies", "lora(rnk=4)"], "strategy 'lora' has no field 'rnk': did you mean 'rank'?"),
    (["--strategies", "scratch+lora"], "cannot be composed: 'scratch' and 'lora' both set the recipe"),
    (["--strategies", "lora+gradual-unfreeze"], "'lora' and 'gradual-unfreeze' both set the trainable"),
    (["--strategies", "lora+parameter-sharing"], "adapters would untie the tied layers"),
    (["--strategies", "linear+augment"], "'linear' trains no network, so 'augment' would change nothing"),
    (["--strategies", "finetune+linear"], "'linear' trains no network, so 'finetune' would change nothing"),
    (["--strategies", "augment(methods=('shout',))"], "use some of dropout, swap, noise, neighbour, mention"),
    (["--models", "minilm-x", "--strategies", "finetune"], "model 'minilm-x' is not known: did you mean 'minilm'?"),
    (["--models", "./absent", "--strategies", "finetune"], "model folder './absent' does not exist"),
    (["--models", "package:absent_package/model", "--strategies", "finetune"], "not installed: pip install it"),
    (["--suite", "publik"], "suite 'publik' is not known: use one of applications, embedded, public"),
    (["--budgets", "abc"], "budgets hold 'abc': give whole numbers or 'full'"),
    (["--budgets", "5"], "--budgets holds 5: give 10 labels or more"),
    (["--replicates", "0"], "--replicates is 0: give 1 or more"),
    (["--workers", "0"], "--workers is 0: give 1 or more"),
    (["--mirror", "absent"], "mirror 'absent' is not a folder"),
    (["--tasks", "sst2", "--mirror", "."], "task 'sst2' is not available: the mirror '.' does not hold SetFit/sst2"),
    (["--plugin", "absent.py"], "plugin file absent.py"),
    (["--data", "absent.csv"], "'absent.csv' does not exist"),
    (["--label", "stars"], "label would say how to read a data file, but none is given"),
    (["--data", "absent.toml"], "'absent.toml' cannot be read"),
])
def test_run_refuses_bad_names_and_numbers(arguments: list[str], expected: str, tlbench: Command, tmp_path: Path
                                           ) -> None:
    usual = {"--tasks": "api-topic", "--strategies": "floor"} | dict(zip(arguments[::2], arguments[1::2], strict=True))
    said = tlbench("run", "--offline", *[part for pair in usual.items() for part in pair])
    assert expected.removeprefix("plugin file ") in said.sentence
    assert not (tmp_path / "tlbench-run").exists()


def test_folder_that_is_no_model_is_refused(tlbench: Command, reviews: Path, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    command = ("run", "--data", reviews, "--tasks", "reviews", "--strategies", "finetune", "--models", "./model")
    assert "model 'model' has no config.json in" in tlbench(*command).sentence
    write(tmp_path / "model" / "config.json", "{not json")
    assert "config.json of model 'model' in" in tlbench(*command).sentence


def test_unknown_flags_and_choices_are_usage_errors(tlbench: Command) -> None:
    for arguments in (["run", "--taks", "x"], ["run", "--precision", "fp8"], ["list", "things"], ["rnu"],
                      ["run", "--replicates", "many"]):
        said = tlbench(*arguments)
        assert said.code == 2
        assert "Error: " in said.err
        assert "Traceback" not in said.err


@pytest.mark.parametrize(("arguments", "expected"), [
    (["board", "absent"], "results folder 'absent' does not exist"),
    (["board", "."], "no records"),
    (["verify", "absent"], "results folder 'absent' holds no records"),
    (["show", "0123", "--in", "absent"], "absent"),
    (["check", "loar"], "task or strategy 'loar' is not known: did you mean 'lora'"),
    (["list", "tasks", "--plugin", "absent.py"], "'absent.py' cannot be read"),
])
def test_reading_commands_refuse_bad_names(arguments: list[str], expected: str, tlbench: Command) -> None:
    assert expected in tlbench(*arguments).sentence


# --- grid files


@pytest.mark.parametrize(("content", "expected"), [
    (b'taks = "sst2"', "in the grid file 'grid.toml' the key 'taks' is not known: did you mean 'tasks'"),
    (b'text_pair = "b"', "the key 'text_pair' is not known: did you mean 'text-pair'"),
    (b'[run]\ntasks = "sst2"', "the key 'run' is not known: known: ablate, any-rows"),
    (b"tasks = 3", "'tasks' in the grid file 'grid.toml' is 3: give a string or an array of strings"),
    (b'tasks = ["sst2", 3]', "'tasks' in the grid file 'grid.toml' is ['sst2', 3]: give a string or an array"),
    (b"budgets = 1.5", "'budgets' in the grid file 'grid.toml' is 1.5: give whole numbers or 'full'"),
    (b"budgets = [true]", "'budgets' in the grid file 'grid.toml' is [True]: give whole numbers or 'full'"),
    (b'replicates = "3"', "'replicates' in the grid file 'grid.toml' is '3': give a whole number"),
    (b"workers = true", "'workers' in the grid file 'grid.toml' is True: give a whole number"),
    (b"offline = 1", "'offline' in the grid file 'grid.toml' is 1: give true or false"),
    (b'precision = "fp8"', "'precision' in the grid file 'grid.toml' is 'fp8': give 'auto', 'fp32' or 'bf16'"),
    (b"out = 1979-05-27", "'out' in the grid file 'grid.toml' is datetime.date(1979, 5, 27): give a path"),
    (b"data = [[]]", "'data' in the grid file 'grid.toml' is [[]]: give a path or an array of paths"),
    (b'budgets = ["abc"]', "budgets hold 'abc': give whole numbers or 'full'"),
    (b"replicates = 0", "--replicates is 0: give 1 or more"),
    (b"tasks = ", "the grid file 'grid.toml' is not valid TOML in UTF-8: Invalid value"),
    (b'tasks = "a"\ntasks = "b"', "the grid file 'grid.toml' is not valid TOML in UTF-8: Cannot overwrite a value"),
    (b"x = " + b"[" * 5_000, "the grid file 'grid.toml' is not valid TOML in UTF-8: "),
    (b'tasks = "caf\xe9"', "the grid file 'grid.toml' is not valid TOML in UTF-8: 'utf-8' codec"),
])
@pytest.mark.parametrize("command", ["run", "plan"])
def test_bad_grid_file_is_one_sentence(command: str, content: bytes, expected: str, tlbench: Command, tmp_path: Path
                                       ) -> None:
    (tmp_path / "grid.toml").write_bytes(content)
    assert expected in tlbench(command, "--grid", "grid.toml").sentence
    assert not (tmp_path / "tlbench-run").exists()


@pytest.mark.parametrize("path", ["absent.toml", "."])
def test_grid_file_that_cannot_be_read_is_one_sentence(path: str, tlbench: Command) -> None:
    assert f"the grid file {path!r} cannot be read" in tlbench("run", "--grid", path).sentence


# --- data files


@pytest.mark.parametrize(("content", "more", "expected"), [
    (b"", [], "is empty"),
    (b"text,label\n", [], "holds no rows"),
    (b"words,class\na,b\n", [], "has no column"),
    (b"text,label\na,b\n", ["--label", "lable"], "no column 'lable': did you mean 'label'"),
    (b"text,label\na,b\nc,d,e\n", [], "has 3 fields, the header has 2"),
    (b"text,label\n" + b"caf\xe9,b\n", [], "is not UTF-8"),
    (b"text,label\n" + b"".join(b"t%d,same\n" % at for at in range(40)), [], "have the label 'same'"),
    (b"text,label\n" + b"".join(b"t%d,%d\n" % (at, at % 2) for at in range(5)), [], "at least 10"),
    (b"text,label\n" + b"t,\n" * 20, [], "column 'label' is empty at line 2"),
    (b"text,label\n" + b"a,b\n" * 20, ["--kind", "text-regresion"], "did you mean 'text-regression'"),
])
def test_bad_data_file_is_one_sentence(content: bytes, more: list[str], expected: str, tlbench: Command, tmp_path: Path
                                       ) -> None:
    (tmp_path / "reviews.csv").write_bytes(content)
    sentence = tlbench(*grid(Path("reviews.csv"), "run", *more)).sentence
    assert expected in sentence
    assert "reviews.csv" in sentence
    assert not (tmp_path / "run").exists()


def test_object_arrays_are_refused_with_the_line_that_saves_them(tlbench: Command, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", text=np.array(["a", None], dtype=object), label=np.array([0, 1]))
    assert "np.savez(path, text=np.array(texts, dtype=str)" in tlbench(*grid(Path("a.npz"), "run")).sentence


def test_data_name_that_a_task_has_is_refused(tlbench: Command, reviews: Path) -> None:
    shutil.copy(reviews, reviews.with_name("sst2.csv"))
    assert "tasks name 'sst2' of data file sst2.csv is already taken by tlbench" in tlbench(
        *grid(Path("sst2.csv"), "run")).sentence


def test_labels_unseen_in_training_and_odd_texts_are_scored(tlbench: Command, tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [{"text": f"text {at} is {'fine' if at % 2 else 'dull'}",
                                   "label": "good" if at % 2 else "bad", "split": "train"} for at in range(40)]
    rows += [{"text": text, "label": label, "split": "test"} for text, label in (
        ("", "good"), ("word " * 2_000, "bad"), ("a\u00a0\ufb01n  b", "unheard"), ("\U0001f600", "good"))]
    write(tmp_path / "odd.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    toml = write(tmp_path / "odd.toml", 'data = "odd.jsonl"\nsplit = "split"\n')
    said = tlbench("run", "--data", toml, "--tasks", "odd", "--strategies", "floor,linear", "--replicates", 1,
                   "--out", "run")
    assert said.code == 0, said.err
    for record in Store(tmp_path / "run").load():
        assert record.status == "ok"
        assert record.task["test"] == 4
        assert record.task["notes"]["test_classes_unseen_in_training"] == ["unheard"]


def test_budget_beyond_the_data_is_a_failed_cell(tlbench: Command, reviews: Path) -> None:
    said = tlbench(*grid(reviews, "run", "--budgets", 1000))
    assert said.code == 1
    assert "budget 1000 asks for more labels than task 'reviews' has (48): give a smaller one or 'full'" in said.err
    assert "Traceback" not in said.err
    assert {record.status for record in Store(Path("run")).load()} == {"failed"}


def test_model_without_a_tokenizer_is_a_failed_cell(tlbench: Command, reviews: Path, zoo: Callable[..., Path],
                                                    tmp_path: Path) -> None:
    model = Path(shutil.copytree(zoo("encoder"), tmp_path / "bare"))
    for path in model.glob("*token*"):
        path.unlink()
    said = tlbench("run", "--data", reviews, "--tasks", "reviews", "--strategies", "finetune", "--models", model,
                   "--replicates", 1, "--offline", "--out", "run")
    assert said.code == 1
    (record,) = Store(Path("run")).load()
    assert record.status == "failed"
    assert "tokenizer" in str(record.reason)
    assert "bare" in str(record.reason)
    assert "\n" not in str(record.reason)


# --- results folders


@pytest.mark.parametrize("out", ["taken/run", "taken"])
def test_results_folder_that_cannot_be_made_is_refused(out: str, tlbench: Command, reviews: Path) -> None:
    write(Path("taken"), "a file")
    sentence = tlbench(*grid(reviews, out)).sentence
    assert f"results folder {out!r} cannot be written to" in sentence
    assert "give another --out" in sentence
    assert Path("taken").read_text(encoding="utf-8") == "a file"


def full_disk(monkeypatch: pytest.MonkeyPatch, under: Path) -> None:
    """Make the disk full for files under a folder: flushing to it fails as the system reports it."""
    flush = os.fsync

    def fsync(handle: int) -> None:
        if under in Path(os.readlink(f"/proc/self/fd/{handle}")).parents:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        flush(handle)

    monkeypatch.setattr(os, "fsync", fsync)


def test_full_disk_stops_the_run_and_loses_nothing(tlbench: Command, reviews: Path, finished: Path,
                                                   monkeypatch: pytest.MonkeyPatch) -> None:
    before = contents(finished)
    with monkeypatch.context() as patch:
        full_disk(patch, finished)
        sentence = tlbench(*grid(reviews, finished, "--replicates", 3)).sentence
    assert "cannot be written to (No space left on device): free some space" in sentence
    assert contents(finished) == before
    said = tlbench(*grid(reviews, finished, "--replicates", 3))
    assert said.code == 0
    assert "1 cells run, 2 reused" in said.err
    assert before.items() <= contents(finished).items()


def test_full_disk_under_the_board_keeps_the_records(tlbench: Command, reviews: Path, finished: Path,
                                                     monkeypatch: pytest.MonkeyPatch) -> None:
    (finished / "board.json").unlink()
    before = contents(finished)
    full_disk(monkeypatch, finished)
    assert "the board cannot be written" in tlbench(*grid(reviews, finished)).sentence
    assert contents(finished) == before


def test_cache_that_cannot_be_written_is_one_sentence(tlbench: Command, reviews: Path, monkeypatch: pytest.MonkeyPatch
                                                      ) -> None:
    write(Path("taken"), "a file")
    monkeypatch.setenv("TLBENCH_CACHE", str(Path("taken/cache").absolute()))
    said = tlbench(*grid(reviews, "run"))
    assert "Traceback" not in said.err
    assert "cannot be written to" in said.err
    assert "TLBENCH_CACHE" in said.err
    assert said.code in (1, 2)


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def emptied(content: bytes) -> bytes:
    return b""


def edited(content: bytes) -> bytes:
    return content.replace(b'"status": "ok"', b'"status":"failed"').replace(b'"status":"ok"', b'"status":"failed"')


@pytest.mark.parametrize("harm", [cut, emptied, edited])
def test_harmed_record_is_named_and_left_alone(harm: Callable[[bytes], bytes], tlbench: Command, reviews: Path,
                                               finished: Path) -> None:
    path = sorted((finished / "records").glob("*.json"))[0]
    content = path.read_bytes()
    assert harm(content) != content
    path.write_bytes(harm(content))
    before = contents(finished)
    commands = (("board", finished), ("verify", finished), ("show", path.stem[:8], "--in", finished),
                grid(reviews, finished), grid(reviews, finished, "--replicates", 3))
    for command in commands:
        sentence = tlbench(*command).sentence
        assert f"record {path.name!r} is truncated or was edited" in sentence
        assert "move it out of" in sentence
        assert before.items() <= contents(finished).items()
    path.unlink()
    assert tlbench(*grid(reviews, finished, "--replicates", 3)).code == 0
    del before[path.name]
    assert before.items() <= contents(finished).items()
    assert tlbench("verify", finished).out.startswith("3 records")


def test_record_that_lacks_a_field_is_named(tlbench: Command, finished: Path) -> None:
    path = sorted((finished / "records").glob("*.json"))[0]
    facts = json.loads(path.read_bytes())
    del facts["numerics"]
    content = json.dumps(facts).encode()
    path.unlink()
    name = f"{facts['key']}-{hashlib.sha256(content).hexdigest()[:12]}.json"
    (path.with_name(name)).write_bytes(content)
    assert f"record {name!r} lacks or misstates 'numerics'" in tlbench("board", finished).sentence


def test_harmed_predictions_are_named(tlbench: Command, finished: Path) -> None:
    path = sorted((finished / "records").glob("*.parquet"))[0]
    path.write_bytes(cut(path.read_bytes()))
    assert f"predictions {path.name!r} are missing or were changed" in tlbench("verify", finished).sentence
    path.unlink()
    assert f"predictions {path.name!r} are missing or were changed" in tlbench("verify", finished).sentence


def test_leftovers_of_a_killed_run_are_no_records(tlbench: Command, reviews: Path, finished: Path) -> None:
    write(finished / "records" / ".0123-4567.json-x.tmp", "{")
    write(finished / "records" / "notes.txt", "mine")
    said = tlbench(*grid(reviews, finished))
    assert said.code == 0
    assert "0 cells run, 2 reused" in said.err
    assert (finished / "records" / "notes.txt").exists()


def test_second_run_in_one_folder_is_refused(tlbench: Command, reviews: Path, finished: Path) -> None:
    before = contents(finished)
    with runner.lock(finished):
        sentence = tlbench(*grid(reviews, finished)).sentence
        assert "another run is writing to" in sentence
        assert "give another --out" in sentence
    assert contents(finished) == before
    assert tlbench(*grid(reviews, finished)).code == 0


def test_fresh_run_starts_beside_the_old_one(tlbench: Command, reviews: Path, finished: Path) -> None:
    before = contents(finished)
    assert tlbench(*grid(reviews, finished, "--fresh")).code == 0
    assert contents(finished) == before
    assert len(contents(finished.with_name("run-2"))) == len(before)


def test_board_is_written_only_where_it_can_be(tlbench: Command, finished: Path) -> None:
    assert "cannot be written to" in tlbench("board", finished, "--write", "absent/board.md").sentence
    assert "cannot be written to" in tlbench("board", finished, "--write", "/dev/full").sentence
    said = tlbench("board", finished, "--write", "board.md")
    assert said.code == 0
    assert "floor" in Path("board.md").read_text(encoding="utf-8")


# --- what a review found


def test_readme_of_somebody_else_is_not_replaced(tlbench: Command, reviews: Path, tmp_path: Path) -> None:
    mine = write(tmp_path / "README.md", "my notes")
    said = tlbench(*grid(reviews, tmp_path))
    assert "was not written by tlbench and would be replaced" in said.sentence
    assert mine.read_text(encoding="utf-8") == "my notes"
    assert not (tmp_path / "records").exists()


def test_damaged_predictions_are_named_before_anything_runs(tlbench: Command, reviews: Path, finished: Path) -> None:
    path = next((finished / "records").glob("*.parquet"))
    path.write_bytes(path.read_bytes() + b"x")
    said = tlbench(*grid(reviews, finished)[:-3], "--replicates", 3, "--offline", "--out", finished)
    assert f"the predictions {path.name!r} is truncated or was edited" in said.sentence
    assert len(list((finished / "records").glob("*.json"))) == 2


def test_record_of_another_layout_is_refused(tlbench: Command, finished: Path) -> None:
    path = next((finished / "records").glob("*.json"))
    text = path.read_text(encoding="utf-8").replace('"schema_version": 1', '"schema_version": 99')
    path.unlink()
    name = f"{path.stem.partition('-')[0]}-{hashlib.sha256(text.encode()).hexdigest()[:12]}.json"
    write(finished / "records" / name, text)
    assert "schema_version" in tlbench("board", finished).sentence


@pytest.mark.parametrize(("toml", "expected"), [
    ('default_budget = "half"', "default_budget is 'half'"),
    ("default_budget = -5", "default_budget is -5"),
    ("languages = [1]", "languages is (1,)"),
    ("test_cap = -1", "test_cap is -1"),
    ('name = "c/../../x"', "name is 'c/../../x'"),
])
def test_declaration_is_checked_before_anything_is_stored(
    toml: str, expected: str, tlbench: Command, reviews: Path, tmp_path: Path
) -> None:
    task = write(tmp_path / "task.toml", f'data = "{reviews.name}"\n{toml}\n')
    said = tlbench("run", "--data", task, "--tasks", "reviews", "--strategies", "floor", "--out", tmp_path / "run")
    assert expected in said.sentence
    assert not (tmp_path / "run" / "records").exists()


FAULTY_STRATEGY = """
from dataclasses import dataclass
from tlbench import Learner, LearnerModel, Strategy

@dataclass(frozen=True)
class Faulty(Strategy):
    name = "faulty"
    uses_model = False
    writes = frozenset({{"learner"}})

    def prepare(self, setup, offer):
        {prepare}
        from dataclasses import replace
        return replace(setup, learner=Learner("faulty"))

    def learner(self, config, kind, seed):
        class Made(LearnerModel):
            def fit(self, train, validation):
                {fit}
            def predict(self, examples):
                return ["good"] * len(examples)
        return Made()
"""


def faulty(folder: Path, prepare: str = "pass", fit: str = "return {}") -> Path:
    return write(folder / "faulty.py", FAULTY_STRATEGY.format(prepare=prepare, fit=fit))


def test_strategy_that_cannot_prepare_is_named(tlbench: Command, reviews: Path, tmp_path: Path) -> None:
    plugin = faulty(tmp_path, prepare="raise KeyError('lost')")
    said = tlbench(*grid(reviews, tmp_path / "run"), "--plugin", plugin, "--strategies", "floor,faulty")
    assert "strategy 'faulty' cannot be prepared for task 'reviews' (KeyError: 'lost')" in said.sentence
    assert "faulty.py" in said.sentence
    assert tlbench("list", "strategies", "--matrix", "--plugin", plugin).code == 0


@pytest.mark.parametrize(("fit", "expected"), [
    ("raise SystemExit(0)", "SystemExit"),
    ("import numpy; return {'loss': numpy.float32(3)}", "cannot be stored"),
    (r"return {'word': '\ud83d'}", "cannot be stored"),
    ("return {'call': print}", "cannot be stored"),
    ("circle = {}; circle['self'] = circle; return circle", "cannot be stored"),
])
def test_learner_that_misbehaves_is_a_failed_row_beside_finished_ones(
    fit: str, expected: str, tlbench: Command, reviews: Path, tmp_path: Path
) -> None:
    command = (*grid(reviews, tmp_path / "run"), "--plugin", faulty(tmp_path, fit=fit), "--strategies", "faulty,floor")
    said = tlbench(*command)
    assert said.code == 1
    states = {record.strategy["name"]: record for record in Store(tmp_path / "run").load()}
    assert states["floor"].status == "ok"
    assert states["faulty"].status == "failed"
    assert expected in str(states["faulty"].reason)
    assert tlbench(*command).code == 1  # and the same command comes back
    assert len(list((tmp_path / "run" / "records").glob("*.json"))) == 4


@pytest.mark.parametrize(("name", "content", "expected"), [
    ("half.jsonl", r'{"text": "a \ud83d b", "label": "x"}', "is not valid JSON"),
    ("deep.jsonl", "[" * 100_000, "nested too deeply"),
    ("huge.jsonl", '{"text": "a", "label": 1' + "0" * 400 + "}", "huge"),
    ("semi.csv", "text;label\na;b\n", "separated by ';'"),
    ("stars.csv", "text,stars\na,b\n", "--label"),
    ("hole.csv", "text,label\n" + "".join(f"text {at},{at / 7:.3f}\n" for at in range(40)) + "last,nan\n",
     "column 'label' is empty at line 42"),
    ("plain.jsonl", "\n".join(json.dumps({"words": ["a", str(at)], "tags": ["O", "O"]}) for at in range(40)),
     "hold no entity"),
])
def test_odd_data_are_one_sentence(
    name: str, content: str, expected: str, tlbench: Command, tmp_path: Path
) -> None:
    path = write(tmp_path / name, content)
    assert expected in tlbench("run", "--data", path, "--tasks", path.stem, "--strategies", "floor").sentence


def test_bytes_in_numpy_files_must_be_utf_8(tlbench: Command, tmp_path: Path) -> None:
    texts = np.array([f"caf\u00e9 {at}".encode("latin-1") for at in range(40)])
    np.savez(tmp_path / "bytes.npz", text=texts, label=np.arange(40) % 2)
    said = tlbench("run", "--data", tmp_path / "bytes.npz", "--tasks", "bytes", "--strategies", "floor")
    assert "is not UTF-8" in said.sentence


def test_not_a_number_is_a_class_name_among_names(tlbench: Command, tmp_path: Path) -> None:
    rows = [f"text number {at},{('na', 'de', 'fr')[at % 3]}" for at in range(60)]
    path = write(tmp_path / "codes.csv", "\n".join(["text,label", *rows, ""]))
    assert tlbench(*grid(path, tmp_path / "run")).code == 0


def test_data_files_of_any_name_run(tlbench: Command, reviews: Path, tmp_path: Path) -> None:
    strange = tmp_path / "\u65e5\u672c\u8a9e [bold].csv"
    shutil.copy(reviews, strange)
    other = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.csv"))
    shutil.copy(reviews, other)
    said = tlbench("run", "--data", strange, "--data", other, "--tasks", "bold,caf", "--strategies", "floor",
                   "--replicates", 1, "--out", tmp_path / "run")
    assert said.code == 0, said.err
    names = {record.task["name"] for record in Store(tmp_path / "run").load()}
    assert names == {"bold", "caf"}


def test_damaged_cache_is_made_again(tlbench: Command, reviews: Path, tmp_path: Path) -> None:
    assert tlbench(*grid(reviews, tmp_path / "run")).code == 0
    (path,) = (tmp_path / "cache" / "tasks").glob("reviews-*.jsonl")
    whole = path.read_bytes()
    for number, harmed in enumerate((whole[: len(whole) // 2], b"".join(whole.splitlines(keepends=True)[:-3]), b"")):
        path.write_bytes(harmed)
        for answer in (tmp_path / "cache" / "precision").glob("*.json"):
            answer.write_text("{", encoding="utf-8")
        assert tlbench(*grid(reviews, tmp_path / f"again-{number}")).code == 0
        assert path.read_bytes() == whole


def test_sources_without_a_strategy_that_has_one_are_refused(tlbench: Command, reviews: Path, tmp_path: Path) -> None:
    said = tlbench(*grid(reviews, tmp_path / "run"), "--sources", "api-topic")
    assert "no strategy here learns from one" in said.sentence


def test_model_without_weights_alone_is_refused(tlbench: Command, reviews: Path, tmp_path: Path) -> None:
    folder = tmp_path / "empty"
    folder.mkdir()
    write(folder / "config.json", json.dumps({"model_type": "bert", "architectures": ["BertModel"]}))
    said = tlbench(*grid(reviews, tmp_path / "run"), "--models", folder, "--strategies", "finetune")
    assert "has no safetensors weights" in said.sentence
    assert "rank is at least 1" in tlbench(*grid(reviews, tmp_path / "run"), "--strategies", "lora(rank=0)").sentence


def test_other_rows_of_a_mirror_have_other_keys(tlbench: Command, tmp_path: Path) -> None:
    keys = []
    for name, text in (("one", "fine"), ("two", "dull")):
        folder = tmp_path / name / "SetFit" / "sst2"
        folder.mkdir(parents=True)
        for split in ("train", "dev", "test"):
            rows = [{"text": f"{split} {at} is {text}", "label": at % 2, "label_text": str(at % 2)} for at in range(60)]
            write(folder / f"{split}.jsonl", "\n".join(map(json.dumps, rows)))
        said = tlbench("plan", "--tasks", "sst2", "--strategies", "floor", "--suite", "public", "--mirror",
                       tmp_path / name, "--any-rows", "--offline", "--json", "--budgets", 40)
        assert said.code == 0, said.err
        source = DataSource(mirror=tmp_path / name, any_rows=True)
        task = registry.load().task("sst2")
        keys.append(dict(task.identity(source)))
    assert keys[0] != keys[1]
