"""What each part of a strategy adds: the same row without it, found among the rows of its table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tlbench.boards.conditions import Condition
from tlbench.canonical import canonical_json
from tlbench.specs import split_outside


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
    """Return, for the conditions that fine-tune a pre-trained model, each strategy whose rest is there too.

    What learns in another way, or starts from random weights, has nothing to take out: without it the row would be
    another method, not the same with less.
    """
    index: dict[str, list[Condition]] = {}
    for condition in conditions:
        if _tunes(condition):
            index.setdefault(_identity(condition, _working(condition)), []).append(condition)
    found = []
    for whole in conditions:
        parts = _working(whole) if _tunes(whole) else []
        for place, part in enumerate(parts):
            rest = [*parts[:place], *parts[place + 1 :]]
            candidates = index.get(_identity(whole, rest), [])
            if candidates:
                label = "+".join(str(one["label"]) for one in rest)
                found.append(Removed(whole, str(part["label"]), part["config"], label, tuple(candidates)))
    return found


def _tunes(condition: Condition) -> bool:
    """Return whether a condition trains a pre-trained model by tlbench's own loop."""
    setup = condition.facts.cell["condition"].get("setup", {})
    weights = setup.get("weights", {})
    start = weights.get("start", weights) if weights.get("type") == "Continued" else weights
    neural = setup.get("learner", {}).get("name", "neural") == "neural"
    return condition.transfers and condition.architecture is not None and neural and start.get("type") != "Random"


def _working(condition: Condition) -> list[dict[str, Any]]:
    """Return the composed strategies with their labels, but for plain fine-tuning, which changes nothing."""
    labels = split_outside(str(condition.facts.strategy["name"]), "+")
    parts = condition.facts.strategy["parts"]
    if len(labels) != len(parts):
        labels = [str(part["name"]) for part in parts]
    return [{**part, "label": label} for part, label in zip(parts, labels, strict=True) if label != "finetune"]


def _identity(condition: Condition, parts: Sequence[Mapping[str, Any]]) -> str:
    bare = [{name: value for name, value in part.items() if name != "label"} for part in parts]
    precision = condition.facts.cell["condition"].get("precision", "auto")
    return canonical_json([condition.architecture, precision, bare])
