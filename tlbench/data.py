"""Task data as every cell sees it: checked, free of test duplicates, capped, fingerprinted, cached by content."""

from __future__ import annotations

import contextlib
import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from tlbench import iob2
from tlbench.canonical import digest
from tlbench.corpora import store
from tlbench.errors import UserError
from tlbench.files import file_sha256, write_cache
from tlbench.grid import PROTOCOL, Cell, subset
from tlbench.kinds import Kind, kind_of
from tlbench.noise import with_wrong_labels
from tlbench.sources import DataSource
from tlbench.task import Example, QuestionExample, Span, Splits, Task, TaskRef, TextExample, TokenExample

_LAYOUT = 1
"""Version of the cache's layout and of the steps in this module."""


@dataclass(frozen=True)
class TaskData:
    """The examples of one task, ready for cells.

    Attributes:
        train: Training side, without exact duplicates of test examples.
        validation: Official validation split without duplicates of test examples, or empty.
        test: Test examples after the cap.
        labels: Sorted label space of the training side; a model predicts these.
        all_labels: Label space of training side and test together; metrics use these.
        notes: Counts that the record keeps.
        fingerprints: SHA-256 of the rows, by split.
    """

    train: tuple[Example, ...]
    validation: tuple[Example, ...]
    test: tuple[Example, ...]
    labels: tuple[str, ...]
    all_labels: tuple[str, ...]
    notes: Mapping[str, Any]
    fingerprints: Mapping[str, str]


@dataclass(frozen=True)
class CellData:
    """The examples of one cell.

    Attributes:
        train: What it learns from.
        validation: What it selects on.
        test: What is scored.
        task: Where they are drawn from.
        label_noise: Expected share of wrong labels among the first two.
        wrong_labels: How many are wrong.
    """

    train: tuple[Example, ...]
    validation: tuple[Example, ...]
    test: tuple[Example, ...]
    task: TaskData
    label_noise: float = 0.0
    wrong_labels: int = 0

    @property
    def fingerprint(self) -> str:
        """Return the hash of the ids drawn, and of the noise in their labels; paired cells have the same one."""
        ids: list[Any] = [[example.id for example in part] for part in (self.train, self.validation)]
        return digest([*ids, self.label_noise] if self.label_noise else ids, 32)


def task_data(task: Task, ref: TaskRef, source: DataSource) -> TaskData:
    """Return the data of a task, from the cache if the same identity was prepared before.

    Raises:
        UserError: the data cannot be read or break a rule of the task's kind; says which example.
    """
    path = source.cache / "tasks" / f"{ref.name}-{digest([_LAYOUT, PROTOCOL, ref, _code(task)], 24)}.jsonl"
    kind = kind_of(ref)
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):  # a damaged copy is made again
        return _read(path, kind)
    data = _prepare(task.load(source), kind, ref)
    _write(path, data)
    return data


def _code(task: Task) -> list[str]:
    """Return hashes of the source that prepares a task, so that it is prepared anew when that was edited."""
    modules = [cls.__module__ for cls in type(task).__mro__ if issubclass(cls, Task)]
    files = [getattr(sys.modules.get(name), "__file__", None) for name in (*modules, iob2.__name__)]
    return [*(file_sha256(Path(path)) for path in files if path and Path(path).is_file()), store.code()]


def without_answer(example: Example) -> Example:
    """Return an example as a learner may see it at prediction: its label, tags, answers or targets are gone."""
    if isinstance(example, TextExample):
        return replace(example, label="" if isinstance(example.label, str) else 0.0)
    if isinstance(example, TokenExample):
        return replace(example, tags=(None,) * len(example.words))
    if isinstance(example, QuestionExample):
        return replace(example, answers=())
    return replace(example, targets=())


def cell_data(cell: Cell, data: TaskData) -> CellData:
    """Draw the examples of a cell.

    Raises:
        UserError: the budget asks for more labels than the task has.
        UnsupportedError: the cell wants wrong labels where they have no meaning.
    """
    budget = cell.condition.budget
    if budget != "full" and budget > len(data.train):
        raise UserError(f"budget {budget} asks for more labels than task {cell.condition.task.name!r} has "
                        f"({len(data.train)}): give a smaller one or 'full'")
    train, validation = subset(cell, [example.id for example in data.train], bool(data.validation))
    held = tuple(data.train[i] for i in validation) or data.validation
    drawn = CellData(tuple(data.train[i] for i in train), held, data.test, data)
    return _with_noise(cell, drawn) if cell.condition.label_noise else drawn


def _with_noise(cell: Cell, drawn: CellData) -> CellData:
    """Return the cell's examples with its share of wrong labels."""
    spoilt = [
        with_wrong_labels(cell, part, drawn.train, drawn.task.labels) for part in (drawn.train, drawn.validation)
    ]
    wrong = sum(count for _, count in spoilt)
    return CellData(spoilt[0][0], spoilt[1][0], drawn.test, drawn.task, cell.condition.label_noise, wrong)


def _prepare(splits: Splits, kind: Kind, ref: TaskRef) -> TaskData:
    parts = {"train": list(splits.train), "validation": list(splits.validation or ()), "test": list(splits.test)}
    for name, part in parts.items():
        _check(part, kind, ref, name)
        parts[name] = [_hashable(example) for example in part]
    held_out = {_normal(kind.text(example)) for example in parts["test"]}
    removed = {}
    for name in ("train", "validation"):
        kept = [example for example in parts[name] if _normal(kind.text(example)) not in held_out]
        removed[name] = len(parts[name]) - len(kept)
        parts[name] = kept
    test = _capped(parts["test"], ref)
    if not parts["train"] or not test:
        raise UserError(f"task {ref.name!r} is empty: its training split has {len(parts['train'])} and its test "
                        f"split {len(test)} usable examples")
    labels = kind.labels(parts["train"])
    if ref.kind == "text-classification" and len(labels) < 2:
        raise UserError(f"task {ref.name!r} has a single class {labels[0]!r} in training: give data with two or more")
    notes = {**splits.notes, "test_duplicates_removed": removed, "test_examples_before_cap": len(parts["test"])}
    all_labels = tuple(sorted({*labels, *kind.labels(test)}))
    fingerprints = {"train": _fingerprint(parts["train"]), "validation": _fingerprint(parts["validation"]),
                    "test": _fingerprint(test)}
    return TaskData(tuple(parts["train"]), tuple(parts["validation"]), tuple(test), labels, all_labels, notes,
                    fingerprints)


def _check(part: Sequence[Example], kind: Kind, ref: TaskRef, split: str) -> None:
    seen: set[str] = set()
    for example in part:
        wrong = (f"is a {type(example).__name__}, but {kind.name} takes {kind.example.__name__}"
                 if not isinstance(example, kind.example) else kind.check(example))
        if wrong is None and example.id in seen:
            wrong = "has an id that another example of the split has"
        if wrong:
            raise UserError(f"task {ref.name!r}, {split} example {example.id!r}: {wrong}; correct the task's data")
        seen.add(example.id)


def _hashable(example: Example) -> Example:
    """Return an example whose lists, which loading methods may give, are tuples."""
    given = {f.name: getattr(example, f.name) for f in fields(example)}
    lists: dict[str, Any] = {name: tuple(value) for name, value in given.items() if isinstance(value, list)}
    return replace(example, **lists) if lists else example


def _capped(test: Sequence[Example], ref: TaskRef) -> list[Example]:
    if ref.test_cap is None or len(test) <= ref.test_cap:
        return list(test)
    order = sorted(test, key=lambda e: hashlib.sha256(f"{PROTOCOL}|{ref.name}|test|{e.id}".encode()).digest())
    return order[: ref.test_cap]


def _normal(text: str) -> str:
    return " ".join(text.lower().split())


def _fingerprint(part: Sequence[Example]) -> str:
    state = hashlib.sha256()
    for example in part:
        state.update(json.dumps(_to_list(example), ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n")
    return state.hexdigest()


def _to_list(example: Example) -> list[Any]:
    values = [getattr(example, f.name) for f in fields(example)]
    return [[[span.text, span.start] for span in value] if isinstance(value, tuple) and value
            and isinstance(value[0], Span) else value for value in values]


def _from_list(values: Sequence[Any], kind: Kind) -> Example:
    names = [f.name for f in fields(kind.example)]
    given = dict(zip(names, values, strict=True))
    for name, value in given.items():
        if name == "answers":
            given[name] = tuple(Span(text, start) for text, start in value)
        elif isinstance(value, list):
            given[name] = tuple(value)
    example: Example = kind.example(**given)
    return example


def _write(path: Path, data: TaskData) -> None:
    head = {"labels": data.labels, "all_labels": data.all_labels, "notes": data.notes,
            "fingerprints": data.fingerprints,
            "sizes": [len(data.train), len(data.validation), len(data.test)]}
    lines = [json.dumps(head, ensure_ascii=True)]
    lines += [json.dumps(_to_list(e), ensure_ascii=True) for e in (*data.train, *data.validation, *data.test)]
    write_cache(path, ("\n".join(lines) + "\n").encode())


def _read(path: Path, kind: Kind) -> TaskData:
    with path.open(encoding="utf-8") as file:
        head = json.loads(file.readline())
        examples = [_from_list(json.loads(line), kind) for line in file]
    n_train, n_validation, _ = head["sizes"]
    if len(examples) != sum(head["sizes"]):
        raise ValueError("the file was cut at the end of a line")
    return TaskData(
        tuple(examples[:n_train]),
        tuple(examples[n_train : n_train + n_validation]),
        tuple(examples[n_train + n_validation :]),
        tuple(head["labels"]),
        tuple(head["all_labels"]),
        head["notes"],
        head["fingerprints"],
    )
