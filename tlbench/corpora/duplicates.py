"""Near-duplicates: pairs of texts whose sets of word 5-grams have a Jaccard similarity of 0.7 or more.

Exact, by prefix filtering (Chaudhuri et al. 2006, Bayardo et al. 2007): two sets that similar share one of
their rarest grams. MinHash estimates the same quantity; being exact, this needs no seed, misses no pair, and
gives the same split with every version of every library, which a published fingerprint relies on.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
THRESHOLD = 0.7
GRAM = 5
_WORD = re.compile(r"\w+")
_MIX = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0xD6E8FEB86659FD93,
                 0xA0761D6478BD642F], dtype=np.uint64)


def normalise(text: str) -> str:
    """Return the words of a text in lower case, one space between them: equal means an exact duplicate."""
    return " ".join(_WORD.findall(text.lower()))


def near_duplicates(
    texts: Sequence[str], of: Sequence[str], threshold: float = THRESHOLD
) -> list[tuple[int, int]]:
    """Return the index pairs (text, other) whose Jaccard similarity reaches the threshold, sorted.

    Texts without a word match nothing; texts of fewer than five words match only their exact duplicates.
    """
    ranked = _rank([*texts, *of])
    left, right = ranked[:len(texts)], ranked[len(texts):]
    pairs = _candidates(left, right, threshold)
    return [(i, j) for i, j in pairs if _jaccard(left[i], right[j]) >= threshold]


def shadowed(texts: Sequence[str], of: Sequence[str], threshold: float = THRESHOLD) -> list[bool]:
    """Tell for each text whether it is a near-duplicate of any of the others."""
    found = {i for i, _ in near_duplicates(texts, of, threshold)}
    return [i in found for i in range(len(texts))]


def groups(views: Sequence[Sequence[str]], threshold: float = THRESHOLD) -> list[int]:
    """Group items that are near-duplicates in any of their views, chains included.

    Args:
        views: One or more texts of every item; `views[v][i]` is text v of item i.
        threshold: Jaccard similarity from which two texts are near-duplicates.

    Returns:
        A number per item: the smallest index in its group.
    """
    parent = list(range(len(views[0])))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for texts in views:
        for i, j in near_duplicates(texts, texts, threshold):
            low, high = sorted((root(i), root(j)))
            parent[high] = low
    return [root(i) for i in range(len(parent))]


def _rank(texts: Sequence[str]) -> list[Ints]:
    """Return each text's distinct 5-grams as increasing ranks, the rarest gram of all texts first.

    All texts lie behind each other in one array, and every step is one operation on it.
    """
    words, lengths = _words(texts)
    if not len(words):
        return [np.empty(0, np.int64) for _ in texts]
    windows = np.maximum(lengths - GRAM + 1, 0)
    owners = np.repeat(np.arange(len(texts)), windows)
    starts = np.cumsum(lengths) - lengths
    within = np.arange(len(owners)) - np.repeat(np.cumsum(windows) - windows, windows)
    first = np.repeat(starts, windows) + within
    mixed = np.zeros(len(owners), dtype=np.uint64)
    for offset, factor in enumerate(_MIX):
        mixed += words[first + offset] * factor
    _, grams, counts = np.unique(mixed, return_inverse=True, return_counts=True)
    rank = np.empty(len(counts), dtype=np.int64)
    rank[np.argsort(counts, kind="stable")] = np.arange(len(counts))
    pairs = np.unique(owners * len(counts) + rank[grams])
    owners, ranks = np.divmod(pairs, len(counts))
    return np.split(ranks, np.searchsorted(owners, np.arange(1, len(texts))))


def _words(texts: Sequence[str]) -> tuple[NDArray[np.uint64], Ints]:
    """Return the words of all texts as numbers, and how many each text has; short texts are padded to five."""
    numbers: dict[str, int] = {}
    words: list[int] = []
    lengths = []
    for text in texts:
        start = len(words)
        words += [numbers.setdefault(word, len(numbers) + 1) for word in _WORD.findall(text.lower())]
        if start < len(words) < start + GRAM:
            words += [0] * (start + GRAM - len(words))
        lengths.append(len(words) - start)
    return np.array(words, dtype=np.uint64), np.array(lengths, dtype=np.int64)


def _prefixes(sets: Sequence[Ints], threshold: float) -> tuple[Ints, Ints]:
    """Return (ranks, owners) of the rarest grams of each set: any set similar enough shares one of them."""
    prefixes = [ranks[:len(ranks) - int(np.ceil(threshold * len(ranks) - 1e-9)) + 1] for ranks in sets]
    owners = np.repeat(np.arange(len(sets)), [len(prefix) for prefix in prefixes])
    return np.concatenate([*prefixes, np.empty(0, np.int64)]), owners


def _candidates(left: Sequence[Ints], right: Sequence[Ints], threshold: float) -> list[tuple[int, int]]:
    """Return the distinct pairs that share a prefix gram and whose sizes allow the similarity."""
    left_ranks, left_owners = _prefixes(left, threshold)
    right_ranks, right_owners = _prefixes(right, threshold)
    order = np.argsort(right_ranks, kind="stable")
    right_ranks, right_owners = right_ranks[order], right_owners[order]
    start = np.searchsorted(right_ranks, left_ranks, "left")
    count = np.searchsorted(right_ranks, left_ranks, "right") - start
    within = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    i = np.repeat(left_owners, count)
    j = right_owners[np.repeat(start, count) + within]
    sizes_left = np.array([len(ranks) for ranks in left], dtype=np.int64)[i]
    sizes_right = np.array([len(ranks) for ranks in right], dtype=np.int64)[j]
    fits = np.minimum(sizes_left, sizes_right) >= threshold * np.maximum(sizes_left, sizes_right)
    codes = np.unique(i[fits] * max(1, len(right)) + j[fits])
    return [(int(code) // max(1, len(right)), int(code) % max(1, len(right))) for code in codes]


def _jaccard(a: Ints, b: Ints) -> float:
    shared = len(np.intersect1d(a, b, assume_unique=True))
    return shared / (len(a) + len(b) - shared)
