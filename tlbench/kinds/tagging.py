"""Token classification: one IOB2 tag per word, scored by strict entities."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tlbench.iob2 import OUTSIDE, Entity, entities, entity_types, is_entity_tag, may_follow
from tlbench.kinds import degeneracy
from tlbench.kinds.base import Array, Kind, Metric
from tlbench.kinds.reduction import f1, mean_rates, rates, require_pairs, totals
from tlbench.task import TokenExample

OTHER = "(other)"
"""Column of entities that were predicted with a type which the task does not have."""


def scored(example: TokenExample, prediction: Sequence[str]) -> tuple[set[Entity], set[Entity]]:
    """Return the gold and the predicted entities that count.

    A word whose gold tag is `None` counts as outside on both sides: what is predicted there is neither right
    nor wrong, and it ends an entity that reaches it. What follows it inside a predicted entity has lost its
    beginning and is dropped.

    Raises:
        ValueError: not one tag per word, or a tag that is not IOB2.
    """
    if len(prediction) != len(example.tags):
        raise ValueError(f"example {example.id!r} has {len(example.tags)} words but {len(prediction)} "
                         "predicted tags: predict one tag per word")
    gold = [OUTSIDE if tag is None else tag for tag in example.tags]
    given = [OUTSIDE if tag is None else guess for tag, guess in zip(example.tags, prediction, strict=True)]
    return entities(gold), entities(given)


class EntityF1(Metric):
    """Micro-averaged F1 of entities, type and both boundaries right (CoNLL-2003; seqeval strict, IOB2)."""

    name = "entity_f1"
    signature = "entity_f1|average:micro|scheme:IOB2|mode:strict|words without gold tag:outside|tlbench:1"

    def columns(self, labels: Sequence[str]) -> tuple[str, ...]:
        """Name the statistics: `<type>/tp`, `/fp`, `/fn` for each type, then those of unknown types."""
        types = (*entity_types(labels), OTHER)
        return tuple(f"{kind}/{count}" for kind in types for count in ("tp", "fp", "fn"))

    def statistics(self, examples: Sequence[Any], predictions: Sequence[Any], labels: Sequence[str]) -> Array:
        """Return tp, fp, fn by type, float64 of shape (examples, 3 * (types + 1)).

        Raises:
            ValueError: no example, unequal lengths, or a tag that is not IOB2.
        """
        require_pairs(examples, predictions)
        index = {kind: i for i, kind in enumerate(entity_types(labels))}
        counts = np.zeros((len(examples), len(index) + 1, 3))
        for row, (example, prediction) in enumerate(zip(examples, predictions, strict=True)):
            gold, given = scored(example, prediction)
            for column, found in enumerate((gold & given, given - gold, gold - given)):
                for kind, _, _ in found:
                    counts[row, index.get(kind, len(index)), column] += 1
        return counts.reshape(len(examples), -1)

    def score(self, statistics: Array, weights: Array | None = None) -> Array:
        """Return micro F1, shape (resamples,); 1 without gold and predicted entity."""
        tp, fp, fn = totals(statistics, weights).reshape(-1, statistics.shape[1] // 3, 3).sum(axis=1).T
        return f1(tp, fp, fn)


class Tagging(Kind):
    """One IOB2 tag per word. Predictions are tuples of tags, one per word."""

    name = "token-classification"
    example = TokenExample
    metrics = (EntityF1(),)

    def check(self, example: Any) -> str | None:
        """Return what is wrong with an example: words and tags must match, tags must be legal IOB2."""
        words, tags = example.words, example.tags
        if not len(words):
            return "it has no words"
        if isinstance(words, str) or not all(isinstance(word, str) for word in words):
            return "its words are not a tuple of strings"
        if len(words) != len(tags):
            return f"it has {len(words)} words but {len(tags)} tags"
        if all(tag is None for tag in tags):
            return "none of its words has a tag"
        return _wrong_tags(tags)

    def text(self, example: Any) -> str:
        """Return the words joined by spaces."""
        return " ".join(example.words)

    def gold(self, example: Any) -> list[str | None]:
        """Return the tags; `None` for words that are left out."""
        return list(example.tags)

    def labels(self, train: Sequence[Any]) -> tuple[str, ...]:
        """Return the tags that occur and `O`, sorted."""
        seen = {tag for example in train for tag in example.tags if tag is not None}
        return tuple(sorted({OUTSIDE, *seen}))

    def degenerate(self, predictions: Sequence[Any]) -> str | None:
        """Return whether nearly all predictions hold no entity."""
        return degeneracy.missing([bool(entities(tags)) for tags in predictions], "no entity")

    def to_json(self, prediction: Any) -> list[str]:
        """Return the tags as a list."""
        return [str(tag) for tag in prediction]

    def from_json(self, value: Any) -> tuple[str, ...]:
        """Return the tags as a tuple."""
        return tuple(value)

    def report(
        self, examples: Sequence[Any], predictions: Sequence[Any], labels: Sequence[str]
    ) -> Mapping[str, Any]:
        """Return precision, recall, F1 and support by type, their macro and micro mean, and the most common
        confusions of a type where the boundaries are right."""
        metric = EntityF1()
        counts = metric.statistics(examples, predictions, labels).sum(axis=0).reshape(-1, 3)
        types = (*entity_types(labels), OTHER)
        rows = {kind: rates(*map(float, row)) for kind, row in zip(types, counts, strict=True)
                if kind != OTHER or row.any()}
        occurs = [rows[kind] for kind, row in zip(types, counts, strict=True) if row.any()]
        return {
            "per_type": rows,
            "macro": mean_rates(occurs),
            "micro": rates(*map(float, counts.sum(axis=0))),
            "type_confusions": _type_confusions(examples, predictions),
        }


def _wrong_tags(tags: Sequence[Any]) -> str | None:
    previous = OUTSIDE
    for place, tag in enumerate(tags):
        if tag is not None and tag != OUTSIDE and not is_entity_tag(tag):
            return f"tag {tag!r} of word {place} is no IOB2 tag"
        if not may_follow(tag, previous):
            return f"tag {tag!r} of word {place} continues no entity: IOB2 begins each with 'B-'"
        previous = tag
    return None


def _type_confusions(examples: Sequence[Any], predictions: Sequence[Any]) -> list[dict[str, Any]]:
    seen: Counter[tuple[str, str]] = Counter()
    for example, prediction in zip(examples, predictions, strict=True):
        gold, given = scored(example, prediction)
        at = {(begin, end): kind for kind, begin, end in given}
        seen.update((kind, at[begin, end]) for kind, begin, end in gold if at.get((begin, end), kind) != kind)
    ordered = sorted(seen.items(), key=lambda item: (-item[1], item[0]))
    return [{"gold": gold, "predicted": given, "count": count} for (gold, given), count in ordered[:20]]
