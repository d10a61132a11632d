"""The split map of the embedded text, and what leaves the training side so that it knows no test text."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import TypeVar

from tlbench.corpora.markup import sentences
from tlbench.corpora.parse import Docstring
from tlbench.corpora.sections import sections

Item = TypeVar("Item")
TEST_SHARE = 5
MIN_WORDS = 8
"""Shorter parts ("Fit the model.") repeat everywhere and carry nothing that a test asks for."""


def is_test(owner: str) -> bool:
    """Tell the side of a top-level object by its dotted path: one in five is on the test side, forever."""
    return int.from_bytes(hashlib.sha256(owner.encode()).digest()[:8], "big") % TEST_SHARE == 0


def separate(rows: Iterable[Docstring]) -> tuple[list[Docstring], dict[str, int]]:
    """Keep one copy of each text, and no training docstring that nearly repeats a test one in whole or part.

    Of copies on both sides the one on the test side stays. Parts are what tasks are made of: the summary, the
    extended description, all prose, all parameter descriptions.

    Returns:
        The rows kept, sorted by name, and how many went for which reason.
    """
    from tlbench.corpora.duplicates import normalise

    first: dict[str, Docstring] = {}
    names: set[str] = set()
    total = 0
    for row in sorted(rows, key=lambda row: (not is_test(row.owner), row.name, row.text)):
        total += 1
        if row.name not in names and (words := normalise(row.text)):
            first.setdefault(words, row)
            names.add(row.name)
    test = [row for row in first.values() if is_test(row.owner)]
    train = [row for row in first.values() if not is_test(row.owner)]
    near = _nearly_repeated(train, test)
    kept = test + [row for index, row in enumerate(train) if index not in near]
    removed = {"exact_duplicates": total - len(first), "near_duplicates_of_test": len(near)}
    return sorted(kept, key=lambda row: row.name), removed


def without_test_passages(train: Sequence[Docstring], test: Sequence[Docstring]) -> list[str]:
    """Return the training texts less every passage (between blank lines) that is known from the test side.

    A passage goes when it nearly repeats a test passage or sentence, or when it holds a test sentence.
    """
    from tlbench.corpora.duplicates import near_duplicates, normalise

    known = {passage for row in test for passage in _passages(row.text) if _long(passage)}
    heard = chain.from_iterable(sentences(_joined(passage)) for passage in known)
    said = {normalise(sentence) for sentence in heard if _long(sentence)}
    ours = list(dict.fromkeys(passage for row in train for passage in _passages(row.text) if _long(passage)))
    near = {ours[index] for index, _ in near_duplicates(ours, sorted(known | said))}
    drop = near | {passage for passage in ours
                   if any(normalise(sentence) in said for sentence in sentences(_joined(passage)))}
    texts = ["\n\n".join(part for part in _passages(row.text) if part not in drop) for row in train]
    return [text for text in texts if text]


def _nearly_repeated(train: Sequence[Docstring], test: Sequence[Docstring]) -> set[int]:
    """Return the indices of training rows with a part that nearly repeats a part of a test row."""
    from tlbench.corpora.duplicates import near_duplicates

    ours = [(index, part) for index, row in enumerate(train) for part in _parts(row)]
    theirs = list(dict.fromkeys(part for row in test for part in _parts(row)))
    pairs = near_duplicates([part for _, part in ours], theirs)
    return {ours[index][0] for index, _ in pairs}


def _parts(row: Docstring) -> list[str]:
    found = sections(row.text)
    parts = (found.summary, " ".join(found.extended), " ".join(found.prose),
             " ".join(description for _, description in found.parameters))
    return list(dict.fromkeys([row.text, *(part for part in parts if _long(part))]))


def _passages(text: str) -> list[str]:
    return re.split(r"\n\s*\n", text)


def _joined(passage: str) -> str:
    return " ".join(line.strip() for line in passage.splitlines())


def _long(text: str) -> bool:
    return len(text.split()) >= MIN_WORDS


def apart(
    train: Sequence[Item], test: Sequence[Item], texts: Callable[[Item], Sequence[str]]
) -> tuple[list[Item], list[Item], dict[str, int]]:
    """Keep one copy of each example, and no training example that nearly repeats a test one.

    Args:
        train: Training examples.
        test: Test examples; of exact copies the first stays.
        texts: Returns the texts by which two examples are compared, the input first.

    Returns:
        Training examples kept, test examples kept, and how many went for which reason.
    """
    from tlbench.corpora.duplicates import near_duplicates, normalise

    kept_test = {normalise(texts(item)[0]): item for item in reversed(test)}
    kept_train = {normalise(texts(item)[0]): item for item in reversed(train)}
    ours, theirs = list(reversed(kept_train.values())), list(reversed(kept_test.values()))
    views = [(index, text) for index, item in enumerate(ours) for text in texts(item)]
    known = [text for item in theirs for text in texts(item)]
    near = {views[index][0] for index, _ in near_duplicates([text for _, text in views], known)}
    counts = {"exact_duplicates": len(train) + len(test) - len(ours) - len(theirs),
              "near_duplicates_of_test": len(near)}
    return [item for index, item in enumerate(ours) if index not in near], theirs, counts
