"""The split map of the embedded text, and what leaves the training side so that it knows no test text."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import TypeVar

from tlbench.corpora.markup import plain, sentences
from tlbench.corpora.parse import Docstring
from tlbench.corpora.sections import sections

Item = TypeVar("Item")
TEST_SHARE = 5
MIN_WORDS = 6
"""Shorter parts ("Fit the model.") repeat everywhere and carry nothing that a test asks for."""
OPENING = 100


def is_test(owner: str) -> bool:
    """Tell the side of a top-level object by its dotted path: one in five is on the test side, forever."""
    return int.from_bytes(hashlib.sha256(owner.encode()).digest()[:8], "big") % TEST_SHARE == 0


def separate(rows: Iterable[Docstring]) -> tuple[list[Docstring], dict[str, int]]:
    """Keep one copy of each text, and no training docstring that nearly repeats a test one in whole or part.

    Of copies on both sides the one on the test side stays.

    Returns:
        The rows kept, sorted by name, and how many went for which reason.
    """
    from tlbench.corpora.duplicates import near_duplicates, normalise

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
    ours = [(index, part) for index, row in enumerate(train) for part in parts(row)]
    pairs = near_duplicates([part for _, part in ours], test_texts(test))
    near = {ours[index][0] for index, _ in pairs}
    kept = test + [row for index, row in enumerate(train) if index not in near]
    removed = {"exact_duplicates": total - len(first), "near_duplicates_of_test": len(near)}
    return sorted(kept, key=lambda row: row.name), removed


def parts(row: Docstring) -> list[str]:
    """Return what tasks are made of, as plain text, after the text itself.

    The summary, what follows it, all prose, all parameter descriptions; of the long ones their opening too,
    since tasks cut them. Parts of fewer than six words are left out.
    """
    found = sections(row.text)
    summary, *rest = sentences(plain(found.summary)) or [""]
    below = " ".join([*rest, *(plain(text) for text in (*found.extended, *found.notes))])
    described = " ".join(plain(description) for _, description in found.parameters)
    whole = [summary, below, f"{summary} {below}", described]
    openings = [" ".join(text.split()[:OPENING]) for text in whole]
    return list(dict.fromkeys([row.text, *(text for text in (*whole, *openings) if _long(text))]))


def test_texts(rows: Iterable[Docstring]) -> list[str]:
    """Return all that a test may be made of: the parts of the rows and their sentences, one copy of each.

    Sentences are split with and without markup, which can differ and of which tasks use both.
    """
    found: dict[str, None] = {}
    for row in rows:
        whole, read = parts(row), sections(row.text)
        marked = [*read.prose, *(description for _, description in read.parameters)]
        said = [*chain.from_iterable(map(sentences, whole[1:])),
                *(plain(sentence) for sentence in chain.from_iterable(map(sentences, marked)))]
        found.update(dict.fromkeys([*whole, *(sentence for sentence in said if _long(sentence))]))
    return list(found)


def without_test_passages(train: Sequence[Docstring], test: Sequence[Docstring]) -> list[str]:
    """Return the training texts less every passage (between blank lines) that is known from the test side.

    A passage goes when it nearly repeats a test text or passage, or when it holds a test sentence.
    """
    from tlbench.corpora.duplicates import near_duplicates, normalise

    known = list(dict.fromkeys(chain(test_texts(test), *(_passages(row.text) for row in test))))
    said = {normalise(text) for text in known}
    ours = {passage: plain(passage) for row in train for passage in _passages(row.text)}
    passages = [passage for passage, text in ours.items() if _long(text)]
    drop = {passages[index] for index, _ in near_duplicates([ours[passage] for passage in passages], known)}
    drop |= {passage for passage in passages
             if any(_long(sentence) and normalise(sentence) in said for sentence in sentences(ours[passage]))}
    texts = ["\n\n".join(part for part in _passages(row.text) if part not in drop) for row in train]
    return [text for text in texts if text]


def apart(
    train: Sequence[Item], test: Sequence[Item], texts: Callable[[Item], Sequence[str]],
    known: Sequence[str] = (),
) -> tuple[list[Item], list[Item], dict[str, int]]:
    """Keep one copy of each example, and no training example that nearly repeats a test one.

    Args:
        train: Training examples.
        test: Test examples; of exact copies the first stays.
        texts: Returns the texts by which two examples are compared, the input first.
        known: Further texts that no training example may repeat.

    Returns:
        Training examples kept, test examples kept, and how many went for which reason.
    """
    from tlbench.corpora.duplicates import near_duplicates, normalise

    kept_test = {normalise(texts(item)[0]): item for item in reversed(test)}
    kept_train = {normalise(texts(item)[0]): item for item in reversed(train)}
    ours, theirs = list(reversed(kept_train.values())), list(reversed(kept_test.values()))
    views = [(index, text) for index, item in enumerate(ours) for text in texts(item)]
    others = [*known, *(text for item in theirs for text in texts(item))]
    near = {views[index][0] for index, _ in near_duplicates([text for _, text in views], others)}
    counts = {"exact_duplicates": len(train) + len(test) - len(ours) - len(theirs),
              "near_duplicates_of_test": len(near)}
    return [item for index, item in enumerate(ours) if index not in near], theirs, counts


def unseen(
    items: Sequence[Item], texts: Callable[[Item], Sequence[str]], rows: Sequence[Docstring], documents: Sequence[str]
) -> list[Item]:
    """Keep the test examples of which no text nearly repeats something that may be trained on.

    For pieces that the split itself does not know, as a cut in the middle of a docstring makes them: there the
    test copy has to go, since the training texts are the same for all tasks.

    Args:
        items: Test examples.
        texts: Returns the texts of an example.
        rows: The training side.
        documents: What pre-training reads of it.
    """
    from tlbench.corpora.duplicates import near_duplicates

    views = [(index, text) for index, item in enumerate(items) for text in texts(item)]
    passages = [passage for document in documents for passage in _passages(document)]
    known = list(dict.fromkeys([*test_texts(rows), *documents, *passages]))
    seen = {views[index][0] for index, _ in near_duplicates([text for _, text in views], known)}
    return [item for index, item in enumerate(items) if index not in seen]


def _passages(text: str) -> list[str]:
    return re.split(r"\n\s*\n", text)


def _long(text: str) -> bool:
    return len(text.split()) >= MIN_WORDS
