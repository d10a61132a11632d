"""What each part of a strategy adds: the same row without it, found among the rows of its table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tlbench.boards.conditions import Condition
from tlbench.canonical import canonical_json
from tlbench.specs import nature, split_outside


@dataclass(frozen=True)
class Removed:
    """A condition, one of its strategies, and what is left without it.

    Attributes:
        whole: The condition.
        part: Label of the strategy that is taken out, its settings included.
        config: Its settings.
        rest: Label of what is left; empty for plain fine-tuning.
        candidates: The conditions that are this rest, by the same model at the same precision.
    """

    whole: Condition
    part: str
    config: Mapping[str, Any]
    rest: str
    candidates: tuple[Condition, ...]

    @property
    def family(self) -> str:
        """Return the part's label without the source that it names."""
        name, _, given = self.part.removesuffix(")").partition("(")
        kept = [one for one in split_outside(given, ",") if not one.startswith("source=")]
        return f"{name}({','.join(kept)})" if kept else name


def removed(conditions: Sequence[Condition]) -> list[Removed]:
    """Return each strategy of the conditions whose rest is there too and is the same method (`specs.nature`)."""
    index: dict[str, list[Condition]] = {}
    for condition in conditions:
        index.setdefault(_identity(condition, _working(condition)), []).append(condition)
    found = []
    for whole in conditions:
        parts = _working(whole)
        for place, part in enumerate(parts):
            rest = [*parts[:place], *parts[place + 1 :]]
            candidates = index.get(_identity(whole, rest), [])
            if candidates:
                label = "+".join(str(one["label"]) for one in rest)
                found.append(Removed(whole, str(part["label"]), part["config"], label, tuple(candidates)))
    return found


def _working(condition: Condition) -> list[dict[str, Any]]:
    """Return the composed strategies with their labels, but for plain fine-tuning, which changes nothing."""
    labels = split_outside(str(condition.facts.strategy["name"]), "+")
    parts = condition.facts.strategy["parts"]
    if len(labels) != len(parts):
        labels = [str(part["name"]) for part in parts]
    return [{**part, "label": label} for part, label in zip(parts, labels, strict=True) if label != "finetune"]


def _identity(condition: Condition, parts: Sequence[Mapping[str, Any]]) -> str:
    bare = [{name: value for name, value in part.items() if name != "label"} for part in parts]
    asked = condition.facts.cell["condition"]
    precision, learns = asked.get("precision", "auto"), nature(asked.get("setup", {}))
    return canonical_json([condition.architecture, precision, learns, bare])
