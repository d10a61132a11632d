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
    """A condition, one of its strategies, and the condition that differs by this strategy alone.

    Attributes:
        whole: The condition.
        part: Label of the strategy that is taken out, its settings included.
        config: Its settings.
        without: The condition that is left; plain fine-tuning where nothing else is.
    """

    whole: Condition
    part: str
    config: Mapping[str, Any]
    without: Condition

    @property
    def family(self) -> str:
        """Return the part's label without the source that it names."""
        name, _, given = self.part.removesuffix(")").partition("(")
        kept = [one for one in split_outside(given, ",") if not one.startswith("source=")]
        return f"{name}({','.join(kept)})" if kept else name


def removed(conditions: Sequence[Condition]) -> list[Removed]:
    """Return, for the conditions with transfer, each strategy whose counterpart without it is there too."""
    index = {(c.architecture, _signature(_working(c))): c for c in conditions if c.architecture}
    found = []
    for whole in conditions:
        if not whole.transfers or not whole.architecture:
            continue
        parts = _working(whole)
        for place, part in enumerate(parts):
            rest = index.get((whole.architecture, _signature([*parts[:place], *parts[place + 1 :]])))
            if rest is not None:
                found.append(Removed(whole, str(part["label"]), part["config"], rest))
    return found


def _working(condition: Condition) -> list[dict[str, Any]]:
    """Return the composed strategies with their labels, but for plain fine-tuning, which changes nothing."""
    labels = split_outside(str(condition.facts.strategy["name"]), "+")
    parts = condition.facts.strategy["parts"]
    if len(labels) != len(parts):
        labels = [str(part["name"]) for part in parts]
    return [{**part, "label": label} for part, label in zip(parts, labels, strict=True) if label != "finetune"]


def _signature(parts: Sequence[Mapping[str, Any]]) -> str:
    return canonical_json([{name: value for name, value in part.items() if name != "label"} for part in parts])
