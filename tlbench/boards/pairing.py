"""Which records may be subtracted from each other, and their evidence side by side."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from tlbench.boards.conditions import Condition
from tlbench.boards.evidence import Evidence, Reader
from tlbench.records import Record
from tlbench.stats import CorpusScores, Delta, corpus_delta, corpus_scores, paired_delta


@dataclass(frozen=True)
class Pairs:
    """Two conditions, replicate by replicate.

    Attributes:
        left: Records of the first condition that found a partner.
        right: Their partners, in the same order.
        reason: Why a replicate that both have found no partner, or `None`.
    """

    left: tuple[Record, ...]
    right: tuple[Record, ...]
    reason: str | None = None


def unpairable(one: Record, other: Record) -> str | None:
    """Return why two records must not be subtracted, or `None`.

    Equal `pairing` keys always pair. A learner without a neural part has no numerics class, so it pairs with
    any class; two neural records need the same one.
    """
    if one.pairing == other.pairing:
        return None
    if one.comparability != other.comparability:
        return "they answer different questions (comparability keys differ)"
    if one.replicate != other.replicate:
        return "they are different replicates"
    if one.budget["subset_fingerprint"] != other.budget["subset_fingerprint"]:
        return "they were trained on different examples"
    classes = {one.numerics["class"], other.numerics["class"]}
    if len(classes) == 2 and "none" not in classes:
        return "their numerics differ (device, precision or library versions)"
    return None


class Pairer:
    """Pairs conditions and computes their deltas; evidence and bootstraps are computed once and shared."""

    def __init__(self, reader: Reader) -> None:
        """Remember where evidence comes from."""
        self._reader = reader
        self._corpus: dict[Hashable, CorpusScores] = {}

    def pairs(self, one: Condition, other: Condition) -> Pairs:
        """Return the replicates that both conditions have and that may be compared."""
        left, right = [], []
        refused: dict[str, list[str]] = {}
        for replicate, record in one.evaluated.items():
            partner = other.evaluated.get(replicate)
            if partner is None:
                continue
            reason = unpairable(record, partner) or self._apart(record, partner)
            if reason:
                refused.setdefault(reason, []).append(str(replicate))
            else:
                left.append(record)
                right.append(partner)
        lines = [f"{reason} (replicate {', '.join(places)})" for reason, places in refused.items()]
        return Pairs(tuple(left), tuple(right), "; ".join(lines) or None)

    def delta(self, pairs: Pairs) -> Delta:
        """Return the delta of pairs, of which there is at least one."""
        left, right = self._evidence(pairs.left), self._evidence(pairs.right)
        if left[0].per_example is None:
            return corpus_delta(self._scores(pairs.left, left), self._scores(pairs.right, right))
        return paired_delta(_stacked(left), _stacked(right), left[0].groups)

    def _apart(self, one: Record, other: Record) -> str | None:
        """Return why the examples of two records do not match, or `None`."""
        left, right = self._reader(one), self._reader(other)
        if left is None or right is None:
            return "their metric was computed by another version (signatures differ)"
        if not np.array_equal(left.ids, right.ids):
            return "their test examples differ"
        return None if left.groups == right.groups else "their groups of test examples differ"

    def _evidence(self, records: Sequence[Record]) -> list[Evidence]:
        return [evidence for record in records if (evidence := self._reader(record)) is not None]

    def _scores(self, records: Sequence[Record], evidence: Sequence[Evidence]) -> CorpusScores:
        key = tuple((record.key, record.pairing) for record in records)
        if key not in self._corpus:
            first = evidence[0]
            self._corpus[key] = corpus_scores(first.metric, [e.statistics for e in evidence], first.groups)
        return self._corpus[key]


def _stacked(evidence: Sequence[Evidence]) -> list[np.ndarray]:
    return [e.per_example for e in evidence if e.per_example is not None]
