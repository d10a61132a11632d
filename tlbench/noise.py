"""Wrong labels on purpose: a share of a cell's labels is replaced, so that strategies can be compared on noisy data.

Training and validation labels alike, since the people who would give the one give the other; test labels never.
Which labels are replaced depends on task, replicate and id alone, so conditions are paired, and the labels that are
wrong at a low rate are wrong at every higher one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from tlbench.errors import UnsupportedError
from tlbench.iob2 import entities, entity_types, mention
from tlbench.task import Example, GenerationExample, QuestionExample, TextExample, TokenExample

if TYPE_CHECKING:
    from tlbench.grid import Cell


def reason_against(kind: str) -> str | None:
    """Return why labels of a kind cannot be made wrong, or `None`."""
    return "a wrong answer span has no definition here, so label noise leaves out question answering" if (
        kind == "question-answering") else None


def with_wrong_labels(
    cell: Cell, examples: Sequence[Example], pool: Sequence[Example], labels: Sequence[str]
) -> tuple[tuple[Example, ...], int]:
    """Return the examples with the cell's share of wrong labels, and how many labels are wrong.

    A class becomes another one, uniformly (symmetric noise); a mention keeps its place and gets another type; a
    number or a target becomes that of another example, which may by chance be the same one (not counted then).

    Args:
        cell: Its condition's `label_noise` is the expected share, from 0 to below 1.
        examples: Whose labels may change.
        pool: Where other numbers and targets come from.
        labels: All classes or tags of the training side.

    Raises:
        UnsupportedError: questions, or a label space with nothing else to say.
    """
    reason = reason_against(cell.condition.task.kind)
    choices = entity_types(labels) if cell.condition.task.kind == "token-classification" else labels
    if not reason and len(choices) == 1:
        reason = f"label noise needs a second label beside {choices[0]!r}"
    if reason:
        raise UnsupportedError(reason)
    changed, wrong = [], 0
    for example in examples:
        made, count = _spoilt(cell, example, pool, choices, labels)
        changed.append(made)
        wrong += count
    return tuple(changed), wrong


def _spoilt(
    cell: Cell, example: Example, pool: Sequence[Example], choices: Sequence[str], labels: Sequence[str]
) -> tuple[Example, int]:
    """Return an example and how many of its labels are wrong now."""
    assert not isinstance(example, QuestionExample)
    if isinstance(example, TokenExample):
        return _retyped(cell, example, choices, labels)
    if _draw(cell, example.id, "whether") >= cell.condition.label_noise:
        return example, 0
    pick = _draw(cell, example.id, "which")
    if isinstance(example, GenerationExample):
        other = pool[int(pick * len(pool))]
        assert isinstance(other, GenerationExample)
        return replace(example, targets=other.targets), int(other.targets != example.targets)
    if isinstance(example.label, str):
        return replace(example, label=_other(choices, example.label, pick)), 1
    other = pool[int(pick * len(pool))]
    assert isinstance(other, TextExample)
    return replace(example, label=other.label), int(other.label != example.label)


def _retyped(
    cell: Cell, example: TokenExample, types: Sequence[str], labels: Sequence[str]
) -> tuple[TokenExample, int]:
    """Give mentions other types; of several words only types that have such mentions, so that no new tag arises."""
    tags, wrong = list(example.tags), 0
    for kind, begin, end in sorted(entities(["O" if tag is None else tag for tag in tags])):
        name = f"{example.id}|{begin}"
        others = [t for t in types if t != kind and (end - begin == 1 or f"I-{t}" in labels)]
        if others and _draw(cell, name, "whether") < cell.condition.label_noise:
            other = others[int(_draw(cell, name, "which") * len(others))]
            tags[begin:end] = mention(other, end - begin)
            wrong += 1
    return replace(example, tags=tuple(tags)), wrong


def _other(choices: Sequence[str], own: str, pick: float) -> str:
    others = [choice for choice in choices if choice != own]
    return others[int(pick * len(others))]


def _draw(cell: Cell, name: str, purpose: str) -> float:
    """Return a number in [0, 1) that depends on protocol, task, replicate and name, and on no other example."""
    condition = cell.condition
    text = f"{condition.protocol}|{condition.task.name}|{cell.replicate}|noise|{purpose}|{name}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big") / 2.0**48
