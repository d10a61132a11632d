"""Data-only tasks: a file with a text and a label column is a task, no code needed."""

from __future__ import annotations

import dataclasses
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tlbench.canonical import digest, storable
from tlbench.columns import Roles, examples_of, guess_kind, roles_of
from tlbench.declarations import task_fault
from tlbench.errors import UserError
from tlbench.files import file_sha256
from tlbench.holdout import RULE, hold_out
from tlbench.sources import DataSource
from tlbench.tables import Table, nearest, read_table
from tlbench.task import KINDS, Budget, Example, QuestionExample, Splits, Task, TextExample, TokenExample

FEWEST_ROWS = 10
_SIDES = {"train": "train", "validation": "validation", "valid": "validation", "val": "validation",
          "dev": "validation", "test": "test"}


@dataclass(frozen=True)
class DataFile:
    """A data-only task as data.

    Attributes:
        path: CSV, TSV, JSON Lines, Parquet, `.npz` or structured `.npy`.
        text: Input column; by default `text`, `words`, `context` or `source`, by kind.
        label: Output column; by default `label`, `tags`, `answer` or `target`, by kind.
        text_pair: Column of the second text, or of the question.
        start: Column of the answer's offset; by default `start`, if there is one, else the first place where
            the answer stands.
        group: Column whose equal values stay on one side; questions are grouped by context anyway.
        split: Column that says `train`, `validation` or `test`.
        test: A second file of the same form that holds the test examples.
        kind: One of the five kinds; guessed from the columns if `None`.
        name: Name of the task; by default the file's.
        metric: Primary metric; by default the kind's.
        licence: Licence of the data.
        languages: BCP 47 codes.
        default_budget: Labels at the quick tier; by default 300, or `full` for less data than that.
        test_cap: Test examples kept at the quick tier; `None` (in TOML `"all"`) keeps all.
        template: How an example is written as a prompt; see `tlbench.Task`.
        likelihood: Also report perplexity and bits per byte; see `tlbench.Task`.
    """

    path: Path
    text: str | None = None
    label: str | None = None
    text_pair: str | None = None
    start: str | None = None
    group: str | None = None
    split: str | None = None
    test: Path | None = None
    kind: str | None = None
    name: str | None = None
    metric: str = ""
    licence: str = "not stated"
    languages: tuple[str, ...] = ("en",)
    default_budget: Budget | None = None
    test_cap: int | None = 500
    template: str | None = None
    likelihood: bool = False


def task_from_file(
    path: str | Path, *, text: str | None = None, label: str | None = None, text_pair: str | None = None,
    kind: str | None = None, name: str | None = None, test: str | Path | None = None, **more: Any,
) -> Task:
    """Return the task that a file describes; the file is read and checked now.

    Without a `test` file or a `split` column, a fixed 20 % of the rows is the test: chosen by a hash of the
    inputs, groups and exact duplicates together.

    Args:
        path: The file.
        text: See `DataFile`, as for all others.
        label: See `DataFile`.
        text_pair: See `DataFile`.
        kind: See `DataFile`.
        name: See `DataFile`.
        test: See `DataFile`.
        more: Further fields of `DataFile`.

    Raises:
        UserError: the file cannot be used; one sentence that says what is wrong, where, and what to do.
    """
    return FileTask(DataFile(Path(path), text=text, label=label, text_pair=text_pair, kind=kind, name=name,
                             test=None if test is None else Path(test), **more))


def tasks_from_toml(path: str | Path) -> list[Task]:
    """Return the tasks of a TOML file: one at its top level, or several as `[[task]]`.

    The keys are the fields of `DataFile`, with `data` for the path; paths are relative to the TOML file.

    Raises:
        UserError: the file is missing or malformed, or a key is unknown or of the wrong type.
    """
    path = Path(path)
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"the task file {str(path)!r} cannot be read ({error.strerror}): check it") from error
    except ValueError as error:
        raise UserError(f"the task file {str(path)!r} is not valid TOML in UTF-8: {error}") from error
    entries = content.get("task", [content])
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise UserError(f"'task' in {str(path)!r} is not a list of tables: write [[task]] above each task")
    return [FileTask(_entry(path, entry)) for entry in entries]


def _entry(path: Path, entry: Mapping[str, Any]) -> DataFile:
    known = ["data", *(field.name for field in dataclasses.fields(DataFile) if field.name != "path")]
    for key, value in entry.items():
        if key not in known:
            raise UserError(f"{str(path)!r} has the unknown key {key!r}: {nearest(key, known)}")
        wanted = {"languages": list, "test_cap": int | str, "default_budget": int | str,
                  "likelihood": bool}.get(key, str)
        if not isinstance(value, wanted):
            raise UserError(f"{key!r} in {str(path)!r} is {value!r}: see the fields of tlbench's DataFile")
    if "data" not in entry:
        raise UserError(f"{str(path)!r} names no data file: add data = \"FILE\"")
    settings = {key: value for key, value in entry.items() if key != "data"}
    if settings.get("test_cap") == "all":
        settings["test_cap"] = None
    if "test" in settings:
        settings["test"] = path.parent / settings["test"]
    if "languages" in settings:
        settings["languages"] = tuple(settings["languages"])
    return DataFile(path.parent / entry["data"], **settings)


class FileTask(Task):
    """A task whose declaration and examples come from a data file."""

    suite = "plugin"

    def __init__(self, file: DataFile) -> None:
        """Read and check the file.

        Raises:
            UserError: the file cannot be used.
        """
        table = read_table(file.path)
        kind, reason = (file.kind, "as asked for") if file.kind else guess_kind(
            table, file.text, file.label, file.text_pair)
        if kind not in KINDS:
            raise UserError(f"kind {kind!r} of {str(file.path)!r} does not exist: {nearest(kind, KINDS)}")
        roles = roles_of(table, kind, text=file.text, label=file.label, text_pair=file.text_pair,
                         start=file.start, group=file.group)
        self._splits = _splits(file, table, kind, roles)
        self._splits = dataclasses.replace(
            self._splits, notes={"file": storable(file.path.name), "kind": f"{kind}: {reason}", **self._splits.notes})
        self._identity = {"files": _hashes(file), "kind": kind, "columns": dataclasses.asdict(roles),
                          "split": file.split, **({} if file.test or file.split else {"hold_out": RULE})}
        few = len(self._splits.train) < 300
        self.__dict__.update(  # a declaration for each file, where other tasks have class attributes
            name=file.name or _name(file.path.stem), kind=kind,
            summary=f"{kind} from {storable(file.path.name)}", licence=file.licence, languages=file.languages,
            metric=file.metric, test_cap=file.test_cap, template=file.template, likelihood=file.likelihood,
            default_budget=file.default_budget or ("full" if few else 300),
        )
        fault = task_fault(self)
        if fault:
            raise UserError(f"the task of {str(file.path)!r}: {fault}")

    def load(self, source: DataSource) -> Splits:
        """Return the splits that were read when the task was made."""
        return self._splits

    def identity(self, source: DataSource) -> Mapping[str, Any]:
        """Return the SHA-256 of the files and how they are read; never a path or a time."""
        return self._identity


def _name(stem: str) -> str:
    """Return a task's name made of a file's: what is neither a letter nor a digit of ASCII becomes a hyphen."""
    name = re.sub(r"[^a-z0-9]+", "-", stem.lower()).strip("-")
    return name or f"data-{digest(storable(stem), 6)}"


def _hashes(file: DataFile) -> dict[str, str]:
    files = {"data": file.path} | ({"test": file.test} if file.test else {})
    return {role: file_sha256(path) for role, path in files.items()}


def _splits(file: DataFile, table: Table, kind: str, roles: Roles) -> Splits:
    examples = examples_of(table, kind, roles, "row")
    validation: list[Example] | None = None
    if file.test is not None:
        other = read_table(file.test)
        for name in filter(None, (roles.text, roles.label, roles.text_pair, roles.start, roles.group)):
            other.column(name)
        train, test, rule = examples, examples_of(other, kind, roles, "test"), "a file of its own"
    elif file.split is not None:
        sides = _by_column(table, examples, file.split)
        train, test, rule = sides["train"], sides["test"], f"column {file.split!r}"
        validation = sides["validation"] or None
    else:
        inputs, groups = [_input(example) for example in examples], [example.group for example in examples]
        marked = list(zip(examples, hold_out(inputs, groups), strict=True))
        train, test = [each for each, held in marked if not held], [each for each, held in marked if held]
        rule = "20 % by hash of the inputs"
    if len(train) < FEWEST_ROWS or not test:
        raise UserError(f"{str(file.path)!r} gives {len(train)} training and {len(test)} test rows: at least "
                        f"{FEWEST_ROWS} and 1 are needed (rows of one group or context stay together)")
    notes = {"rows": len(table), "test": rule, **_label_notes(file, kind, train, test)}
    return Splits(train=train, test=test, validation=validation, notes=notes)


def _by_column(table: Table, examples: Sequence[Example], column: str) -> dict[str, list[Example]]:
    sides: dict[str, list[Example]] = {"train": [], "validation": [], "test": []}
    for row, (value, example) in enumerate(zip(table.column(column), examples, strict=True)):
        side = _SIDES.get(str(value).strip().lower())
        if side is None:
            raise UserError(f"column {column!r} holds {value!r} at {table.where(row)}: "
                            f"{nearest(str(value), sides)}")
        sides[side].append(example)
    return sides


def _label_notes(
    file: DataFile, kind: str, train: Sequence[Example], test: Sequence[Example]
) -> dict[str, Any]:
    """Refuse data in which there is nothing to learn; return test classes that training lacks."""
    if kind == "token-classification" and not any(
        tag and tag != "O" for example in train if isinstance(example, TokenExample) for tag in example.tags
    ):
        raise UserError(f"the {len(train)} training rows of {str(file.path)!r} hold no entity: give rows with B- tags")
    if not kind.startswith("text-cl") and kind != "text-regression":
        return {}
    seen = {example.label for example in train if isinstance(example, TextExample)}
    if len(seen) < 2:
        raise UserError(f"all {len(train)} training rows of {str(file.path)!r} have the label "
                        f"{next(iter(seen))!r}: give at least two different labels")
    if kind == "text-regression":
        return {}
    unseen = {str(example.label) for example in test if isinstance(example, TextExample)} - seen
    return {"test_classes_unseen_in_training": sorted(map(str, unseen))} if unseen else {}


def _input(example: Example) -> str:
    if isinstance(example, TextExample):
        return f"{example.text}\0{example.text_pair or ''}"
    if isinstance(example, TokenExample):
        return "\0".join(example.words)
    if isinstance(example, QuestionExample):
        return f"{example.context}\0{example.question}"
    return example.source
