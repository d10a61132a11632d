"""Signatures of a corpus: a sixteenth of the hashes of its 8-grams of words, to ask later what a model has read.

They say nothing about the text itself, stay small (2.5 MB for five million words), and are the same on every machine.
A full copy of a text with n 8-grams goes unseen with probability (15/16)^n: 4 % at 50 words.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]
GRAM = 8
RATE = 16
"""A hash is kept where it is divisible by this."""
_WORD = re.compile(r"\w+")
_MIX = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0xD6E8FEB86659FD93, 0xA0761D6478BD642F,
                 0xE7037ED1A0B428DB, 0x8EBC6AF09C88C6E3, 0x589965CC75374CC3], dtype=np.uint64)


@dataclass(frozen=True)
class Leak:
    """How much of a set of texts a model has read.

    Attributes:
        texts: Texts asked about.
        checkable: Those with a signature at all: of at least eight words, and sampled.
        shared: Those that share a signature with the corpus.
    """

    texts: int
    checkable: int
    shared: int


def signatures(texts: Iterable[str]) -> Hashes:
    """Return the sampled hashes of all 8-grams of words (lower case, no punctuation), sorted, distinct, uint64."""
    numbers: dict[str, int] = {}
    parts = [_grams(text, numbers) for text in texts]
    return np.unique(np.concatenate([np.empty(0, np.uint64), *parts]))


def leak(texts: Sequence[str], known: Hashes) -> Leak:
    """Count the texts that share a signature with a corpus.

    Args:
        texts: For instance the test texts of a task.
        known: What `signatures` returned, sorted; `np.load` of a model's `signatures.npy`.
    """
    numbers: dict[str, int] = {}
    found = [_grams(text, numbers) for text in texts]
    shared = sum(bool(np.isin(grams, known).any()) for grams in found)
    return Leak(len(found), sum(bool(len(grams)) for grams in found), shared)


def _grams(text: str, numbers: dict[str, int]) -> Hashes:
    words = _WORD.findall(text.lower())
    if len(words) < GRAM:
        return np.empty(0, np.uint64)
    for word in words:
        if word not in numbers:
            digest = hashlib.blake2b(word.encode("utf-8", "replace"), digest_size=8).digest()
            numbers[word] = int.from_bytes(digest, "little")
    ids = np.array([numbers[word] for word in words], dtype=np.uint64)
    windows = np.lib.stride_tricks.sliding_window_view(ids, GRAM)
    hashes: Hashes = (windows * _MIX).sum(axis=1, dtype=np.uint64)
    hashes ^= hashes >> np.uint64(32)  # the low bits of a sum of products say too little about the high ones
    hashes *= np.uint64(0xD6E8FEB86659FD93)
    hashes ^= hashes >> np.uint64(32)
    kept: Hashes = hashes[hashes % np.uint64(RATE) == 0]
    return kept
