"""From the columns of a data file to the examples of a kind."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tlbench.errors import UserError
from tlbench.iob2 import OUTSIDE, is_entity_tag, may_follow
from tlbench.tables import Table
from tlbench.task import Example, GenerationExample, QuestionExample, Span, TextExample, TokenExample

MOST_CLASSES = 20
_MISSING = frozenset({"nan", "na", "n/a", "null", "none", "-"})
_DEFAULTS = {
    "text-classification": ("text", "label", None),
    "text-regression": ("text", "label", None),
    "token-classification": ("words", "tags", None),
    "question-answering": ("context", "answer", "question"),
    "text-generation": ("source", "target", None),
}


@dataclass(frozen=True)
class Roles:
    """Which column plays which part.

    Attributes:
        text: The input: a text, a list of words, the context of a question, the source of a generation.
        label: The output: class or number, list of tags, answer, target (or several, as a list).
        text_pair: The second text of a pair; the question.
        start: Character offset of the answer in its context.
        group: Rows with the same value stay on one side of a split.
    """

    text: str
    label: str
    text_pair: str | None = None
    start: str | None = None
    group: str | None = None


def guess_kind(table: Table, text: str | None, label: str | None, text_pair: str | None) -> tuple[str, str]:
    """Return the kind that the columns speak for, and why.

    Default column names decide first, then the values of the label column: lists are tags, more than 20
    different numbers that are not all whole are a regression, anything else is a class.
    """
    names = set(table.columns)
    for kind in ("token-classification", "question-answering", "text-generation"):
        if text is None and label is None and {name for name in _DEFAULTS[kind] if name} <= names:
            return kind, "by its column names"
    values = table.column(label or "label")
    if any(isinstance(value, list) for value in values) and text_pair is None:
        if any(isinstance(value, list) for value in table.column(text or "text")):
            return "token-classification", "its inputs and labels are lists"
        return "text-generation", "its labels are lists"
    holes = _holes(values)
    numbers = {_number(value) for row, value in enumerate(values) if row not in holes and not _absent(value)}
    fractions = any(number is not None and not number.is_integer() for number in numbers)
    if None not in numbers and fractions and len(numbers) > MOST_CLASSES:
        return "text-regression", f"its labels are {len(numbers)} different numbers"
    return "text-classification", "its labels are few, whole numbers or names"


def roles_of(
    table: Table, kind: str, *, text: str | None, label: str | None, text_pair: str | None, start: str | None,
    group: str | None,
) -> Roles:
    """Fill in the default column names of a kind and check that all columns exist.

    Raises:
        UserError: a column is missing.
    """
    defaults = _DEFAULTS[kind]
    if start is None and kind == "question-answering" and "start" in table.columns:
        start = "start"
    roles = Roles(text or str(defaults[0]), label or str(defaults[1]), text_pair or defaults[2], start, group)
    for name in (roles.text, roles.label, roles.text_pair, roles.start, roles.group):
        if name is not None:
            table.column(name)
    return roles


def examples_of(table: Table, kind: str, roles: Roles, prefix: str) -> list[Example]:
    """Return one example per row, called `<prefix>-<row>`.

    Raises:
        UserError: a value is absent or of the wrong type; one sentence naming the row and the column.
    """
    _refuse_absent(table, roles, kind)
    if kind.startswith("text-cl"):
        _refuse_mixed(table, roles.label)
    make = _MAKERS[kind]
    return [make(Row(table, roles, row), f"{prefix}-{row + 1}") for row in range(len(table))]


@dataclass(frozen=True)
class Row:
    """One row of a table, read by role."""

    table: Table
    roles: Roles
    at: int

    @property
    def place(self) -> str:
        """Where the row stands, for messages."""
        return self.table.where(self.at)

    def value(self, column: str) -> Any:
        """Return the value in one column."""
        return self.table.columns[column][self.at]

    def text(self, column: str) -> str:
        """Return a text, which may be empty; anything else is refused."""
        value = self.value(column)
        if not isinstance(value, str):
            raise self.wrong(column, value, "a text")
        return value

    def pair(self) -> str | None:
        """Return the second text, if the table has one."""
        return None if self.roles.text_pair is None else self.text(self.roles.text_pair)

    def group(self) -> str | None:
        """Return the name of the row's group, if the table has groups."""
        return None if self.roles.group is None else str(self.value(self.roles.group))

    def wrong(self, column: str, value: Any, wanted: str) -> UserError:
        """Return the error for a value of the wrong type."""
        return UserError(f"column {column!r} holds {_short(value)} at {self.place}: give {wanted}")


def _class_example(row: Row, name: str) -> Example:
    value = row.value(row.roles.label)
    if isinstance(value, list | dict):
        raise row.wrong(row.roles.label, value, "one class name")
    return TextExample(name, row.text(row.roles.text), class_name(value), row.pair(), row.group())


def _number_example(row: Row, name: str) -> Example:
    value = row.value(row.roles.label)
    number = _number(value)
    if number is None:
        raise row.wrong(row.roles.label, value, "a finite number")
    return TextExample(name, row.text(row.roles.text), number, row.pair(), row.group())


def _token_example(row: Row, name: str) -> Example:
    words, tags = row.value(row.roles.text), row.value(row.roles.label)
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise row.wrong(row.roles.text, words, "a list of words (JSON Lines or Parquet)")
    if not isinstance(tags, list) or not all(tag is None or isinstance(tag, str) for tag in tags):
        raise row.wrong(row.roles.label, tags, "a list of tag names (JSON Lines or Parquet)")
    if len(words) != len(tags):
        raise UserError(f"{row.place} has {len(words)} words and {len(tags)} tags: give one tag per word")
    before: str | None = "O"
    for tag in tags:
        if tag is not None and tag != OUTSIDE and not is_entity_tag(tag):
            raise UserError(f"tag {tag!r} at {row.place} is no IOB2 tag: write 'O', or 'B-' or 'I-' and a type")
        if not may_follow(tag, before):
            raise UserError(f"tag {tag!r} follows {before!r} at {row.place}: write IOB2, where an entity "
                            "starts with B- and goes on with I-")
        before = tag
    return TokenExample(name, tuple(words), tuple(tags), row.group())


def _question_example(row: Row, name: str) -> Example:
    context, question = row.text(row.roles.text), row.text(str(row.roles.text_pair))
    value: Any = row.value(row.roles.label)
    start = None if row.roles.start is None else row.value(row.roles.start)
    if isinstance(value, dict):  # SQuAD: {"text": [...], "answer_start": [...]}
        value, start = value.get("text"), value.get("answer_start")
    texts = value if isinstance(value, list) else [value]
    starts = start if isinstance(start, list) else [start] * len(texts)
    if not texts or not all(isinstance(text, str) and text for text in texts) or len(starts) != len(texts):
        raise row.wrong(row.roles.label, value, "an answer, or a list of answers with as many starts")
    answers = tuple(_span(row, context, text, start) for text, start in zip(texts, starts, strict=True))
    paragraph = hashlib.sha256(context.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return QuestionExample(name, question, context, answers, row.group() or paragraph)


def _span(row: Row, context: str, text: str, start: Any) -> Span:
    number = _number(start)
    at = context.find(text) if start is None else int(number) if number is not None else -1
    if at < 0 or context[at:at + len(text)] != text:
        raise UserError(f"the answer {_short(text)} does not stand in its context at {row.place}: "
                        "copy the answer from the context and count characters from 0")
    return Span(text, at)


def _generation_example(row: Row, name: str) -> Example:
    value = row.value(row.roles.label)
    targets = value if isinstance(value, list) else [value]
    if not targets or not all(isinstance(target, str) for target in targets):
        raise row.wrong(row.roles.label, value, "a text, or a list of texts")
    return GenerationExample(name, row.text(row.roles.text), tuple(targets), row.group())


_MAKERS: dict[str, Callable[[Row, str], Example]] = {
    "text-classification": _class_example,
    "text-regression": _number_example,
    "token-classification": _token_example,
    "question-answering": _question_example,
    "text-generation": _generation_example,
}


def class_name(value: Any) -> str:
    """Return the name of a class: whole numbers without a fraction, truth values in lower case."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def _refuse_absent(table: Table, roles: Roles, kind: str) -> None:
    for name in (roles.text, roles.label, roles.text_pair):
        values: Sequence[Any] = () if name is None else table.columns[name]
        holes = _holes(values) if name == roles.label and kind == "text-regression" else set()
        absent = [row for row, value in enumerate(values)
                  if value is None or row in holes or (name == roles.label and _absent(value))]
        if absent:
            raise UserError(f"column {name!r} is empty at {table.where(absent[0])} ({len(absent)} of "
                            f"{len(values)} rows): fill it in or remove the rows")


def _refuse_mixed(table: Table, column: str) -> None:
    values = table.columns[column]
    kinds = [_type_name(value) for value in values]
    other = next((row for row, kind in enumerate(kinds) if kind != kinds[0]), None)
    if other is not None:
        raise UserError(f"column {column!r} mixes types: {kinds[0]} at {table.where(0)}, {kinds[other]} at "
                        f"{table.where(other)}; write all labels the same way")


def _type_name(value: Any) -> str:
    names = {bool: "a truth value", int: "a number", float: "a number", str: "a text", list: "a list"}
    return names.get(type(value), f"a {type(value).__name__}")


def _holes(values: Sequence[Any]) -> set[int]:
    """Return the rows that say `nan` or the like where all others hold numbers; in a regression they are absent."""
    said = {row for row, value in enumerate(values) if isinstance(value, str) and value.strip().lower() in _MISSING}
    others = [value for row, value in enumerate(values) if row not in said and not _absent(value)]
    return said if others and all(_number(value) is not None for value in others) else set()


def _absent(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip()) or value != value


def _number(value: Any) -> float | None:
    """Return a finite number, from a text as well; `None` for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
