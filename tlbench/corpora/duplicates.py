"""Near-duplicates: pairs of texts whose sets of word 5-grams have a Jaccard similarity of 0.7 or more.

Exact, by prefix filtering (Chaudhuri et al. 2006, Bayardo et al. 2007): two sets that similar share one of
their rarest grams. MinHash estimates the same quantity; being exact, this needs no seed, misses no pair, and
gives the same split with every version of every library, which a published fingerprint relies on.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from itertools import count

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Grams = NDArray[np.uint64]
THRESHOLD = 0.7
GRAM = 5
_BUCKET_BITS = 23
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


def _rank(texts: Sequence[str]) -> list[Grams]:
    """Return each text's distinct 5-grams in one order for all texts, rare grams first.

    A gram is 16 bits of how often its bucket of hashes occurs and 48 bits of hash; the filter needs a common
    order and is the faster the rarer the first ones are. All texts lie behind each other in one array.
    """
    if not texts:
        return []
    words, lengths = _words(texts)
    windows = np.maximum(lengths - GRAM + 1, 0)
    ends = np.cumsum(windows)
    first = np.arange(windows.sum()) + np.repeat(np.cumsum(lengths) - lengths - (ends - windows), windows)
    grams = np.zeros(len(first), dtype=np.uint64)
    for offset, factor in enumerate(_MIX):
        grams += words[first + offset] * factor
    buckets = (grams >> np.uint64(64 - _BUCKET_BITS)).astype(np.int64)
    often = np.minimum(np.bincount(buckets, minlength=1)[buckets], 0xFFFF).astype(np.uint64)
    grams = (often << np.uint64(48)) | (grams & np.uint64(2**48 - 1))
    return [_distinct(part) for part in np.split(grams, ends[:-1])]


def _distinct(grams: Grams) -> Grams:
    grams.sort()
    keep = np.ones(len(grams), dtype=bool)
    keep[1:] = grams[1:] != grams[:-1]
    return grams[keep]


def _words(texts: Sequence[str]) -> tuple[Grams, Ints]:
    """Return the words of all texts as numbers, and how many each text has; short texts are padded to five."""
    numbers: defaultdict[str, int] = defaultdict(count(1).__next__)
    words: list[int] = []
    lengths = []
    for text in texts:
        start = len(words)
        words += map(numbers.__getitem__, _WORD.findall(text.lower()))
        if start < len(words) < start + GRAM:
            words += [0] * (start + GRAM - len(words))
        lengths.append(len(words) - start)
    return np.array(words, dtype=np.uint64), np.array(lengths, dtype=np.int64)


def _prefixes(sets: Sequence[Grams], threshold: float) -> tuple[Grams, Ints]:
    """Return (grams, owners) of the rarest grams of each set: any set similar enough shares one of them."""
    prefixes = [grams[:len(grams) - int(np.ceil(threshold * len(grams) - 1e-9)) + 1] for grams in sets]
    owners = np.repeat(np.arange(len(sets)), [len(prefix) for prefix in prefixes])
    return np.concatenate([*prefixes, np.empty(0, np.uint64)]), owners


def _candidates(left: Sequence[Grams], right: Sequence[Grams], threshold: float) -> list[tuple[int, int]]:
    """Return the distinct pairs that share a prefix gram and whose sizes allow the similarity."""
    left_grams, left_owners = _prefixes(left, threshold)
    right_grams, right_owners = _prefixes(right, threshold)
    order = np.argsort(right_grams, kind="stable")
    right_grams, right_owners = right_grams[order], right_owners[order]
    start = np.searchsorted(right_grams, left_grams, "left")
    count = np.searchsorted(right_grams, left_grams, "right") - start
    within = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    i = np.repeat(left_owners, count)
    j = right_owners[np.repeat(start, count) + within]
    sizes_left = np.array([len(grams) for grams in left], dtype=np.int64)[i]
    sizes_right = np.array([len(grams) for grams in right], dtype=np.int64)[j]
    fits = np.minimum(sizes_left, sizes_right) >= threshold * np.maximum(sizes_left, sizes_right)
    codes = np.unique(i[fits] * max(1, len(right)) + j[fits])
    return [(int(code) // max(1, len(right)), int(code) % max(1, len(right))) for code in codes]


def _jaccard(a: Grams, b: Grams) -> float:
    shared = len(np.intersect1d(a, b, assume_unique=True))
    return shared / (len(a) + len(b) - shared)
