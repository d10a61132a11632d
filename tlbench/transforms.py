"""Altered copies of training examples: what each method does to each kind of example, without torch.

Simple edits in the manner of EDA (Wei and Zou 2019, arXiv:1901.11196), character noise (Belinkov and Bisk 2018,
arXiv:1711.02173) and mention replacement (Dai and Adel 2020, arXiv:2010.11683). Labels, tags and answers stay
right by construction: only words outside of entities and answers are edited, and offsets move with the text.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from tlbench.errors import UserError
from tlbench.iob2 import OUTSIDE, mention
from tlbench.setups import Augment
from tlbench.task import Example, GenerationExample, QuestionExample, Span, TextExample, TokenExample, texts_of
from tlbench.words import spaced

Words = list[str]
_TRIES = 50
"""Draws of a copy until it differs from its original."""


@dataclass
class Draw:
    """What an edit may use.

    Attributes:
        random: Random stream of the copy.
        share: Share of the words that are edited.
        nearest: Words to words that are used alike.
        mentions: Entity types to the mentions that the training examples hold.
    """

    random: random.Random
    share: float
    nearest: Mapping[str, Sequence[str]]
    mentions: Mapping[str, Sequence[tuple[str, ...]]]
    asked: bool = False
    """Whether there was a word that could be edited."""

    def hits(self) -> bool:
        """Say whether a word is edited."""
        self.asked = True
        return self.random.random() < self.share


def augmented(examples: Sequence[Example], kind: str, wanted: Augment, seed: int) -> tuple[Example, ...]:
    """Return the altered copies of the examples, not the examples themselves.

    Args:
        examples: Training examples of one kind.
        kind: Name of the kind.
        wanted: Methods, number of copies and share of words.
        seed: Seed of the edits.

    Returns:
        `copies` times as many examples; the first copies of all come first. A copy that would equal its original is
        drawn again, so that of short texts at least one word is edited.

    Raises:
        UserError: a method has no meaning for this kind.
    """
    if "mention" in wanted.methods and kind != "token-classification":
        raise UserError(f"augmentation by 'mention' needs entities, which {kind} has not: take another method")
    nearest = {}
    if "neighbour" in wanted.methods:
        nearest = neighbours([row for example in examples for row in _rows(example)])
    mentions = _mentions(examples) if "mention" in wanted.methods else {}
    made = []
    for number in range(wanted.copies):
        method = wanted.methods[number % len(wanted.methods)]
        for example in examples:
            draw = Draw(random.Random(f"{seed}/{number}/{example.id}"), wanted.share, nearest, mentions)
            made.append(replace(_altered(example, method, draw), id=f"{example.id}#{number + 1}"))
    return tuple(made)


def _altered(example: Example, method: str, draw: Draw) -> Example:
    """Return an altered copy; the example itself if nothing in it can be edited."""
    for _ in range(_TRIES):
        copy = _KINDS[type(example)](example, method, draw)
        if copy != example or not draw.asked:
            return copy
    return example


# --- edits of words -------------------------------------------------------------------------------------------------


def dropped(words: Words, draw: Draw) -> Words:
    """Return the words without some, at least one of them."""
    kept = [word for word in words if not draw.hits()]
    return kept or words[:1]


def swapped(words: Words, draw: Draw) -> Words:
    """Return the words with some neighbours exchanged."""
    out = list(words)
    for i in range(len(out) - 1):
        if draw.hits():
            out[i], out[i + 1] = out[i + 1], out[i]
    return out


def noisy(words: Words, draw: Draw) -> Words:
    """Return the words, some with a character lost, doubled or exchanged with the next; short ones stay."""
    return [_misspelt(word, draw.random) if len(word) > 3 and draw.hits() else word for word in words]


def _misspelt(word: str, draw: random.Random) -> str:
    i = draw.randrange(1, len(word) - 1)
    return draw.choice([
        word[:i] + word[i + 1 :], word[:i] + word[i] + word[i:], word[:i] + word[i + 1] + word[i] + word[i + 2 :]
    ])


def replaced(words: Words, draw: Draw) -> Words:
    """Return the words, some replaced by a word that is used alike."""
    return [
        draw.random.choice(draw.nearest[word]) if word in draw.nearest and draw.hits() else word for word in words
    ]


EDITS: Mapping[str, Callable[[Words, Draw], Words]] = {
    "dropout": dropped, "swap": swapped, "noise": noisy, "neighbour": replaced,
}


def edited(text: str, method: str, draw: Draw) -> str:
    """Return a text with its words edited; white space at both ends stays, and between words that remain."""
    found = _words(text)
    if not found:
        return text
    words = EDITS[method]([text[start:end] for start, end in found], draw)
    gaps = [text[a[1] : b[0]] for a, b in pairwise(found)]
    made = words[0]
    for before, gap, word in zip(words, gaps, words[1:], strict=False):
        made += (gap or _between(before, word)) + word
    return text[: found[0][0]] + made + text[found[-1][1] :]


def _between(before: str, word: str) -> str:
    """Return what stands between two words that an edit made neighbours: nothing if one writes no spaces."""
    return " " if spaced(before + word).split() == [before + word] else ""


def _words(text: str) -> list[tuple[int, int]]:
    """Return where the words of a text begin and end."""
    edges, at = [], 0
    for word in spaced(text).split():
        start = text.index(word, at)
        at = start + len(word)
        edges.append((start, at))
    return edges


# --- examples of each kind ------------------------------------------------------------------------------------------


def _text(example: TextExample, method: str, draw: Draw) -> TextExample:
    pair = edited(example.text_pair, method, draw) if example.text_pair is not None else None
    return replace(example, text=edited(example.text, method, draw), text_pair=pair)


def _source(example: GenerationExample, method: str, draw: Draw) -> GenerationExample:
    return replace(example, source=edited(example.source, method, draw))


def _context(example: QuestionExample, method: str, draw: Draw) -> QuestionExample:
    """Edit the context between its answers, and move the answers with the text."""
    context, moved, end = "", {}, 0
    for start, stop in _merged(example.answers):
        context += edited(example.context[end:start], method, draw)
        moved[start, stop] = len(context)
        context += example.context[start:stop]
        end = stop
    context += edited(example.context[end:], method, draw)
    answers = []
    for span in example.answers:
        block = next(edges for edges in moved if edges[0] <= span.start < max(edges[1], edges[0] + 1))
        answers.append(Span(span.text, moved[block] + span.start - block[0]))
    return replace(example, context=context, answers=tuple(answers))


def _merged(answers: Sequence[Span]) -> list[tuple[int, int]]:
    """Return the stretches that answers cover, in order; those that overlap or touch are one."""
    out: list[tuple[int, int]] = []
    for start, stop in sorted((span.start, span.start + len(span.text)) for span in answers):
        if out and start <= out[-1][1]:
            out[-1] = (out[-1][0], max(out[-1][1], stop))
        else:
            out.append((start, stop))
    return out


def _tagged(example: TokenExample, method: str, draw: Draw) -> TokenExample:
    """Edit the stretches of words outside of entities, or exchange entities for others of their type."""
    words: list[str] = []
    tags: list[str | None] = []
    for piece, tag in _pieces(example):
        if tag == "O" and method != "mention":
            piece = EDITS[method](piece, draw)
        elif tag is not None and tag != "O" and method == "mention" and draw.hits():
            piece = list(draw.random.choice(draw.mentions[tag]))
        words += piece
        tags += [tag] * len(piece) if tag is None or tag == OUTSIDE else mention(tag, len(piece))
    return replace(example, words=tuple(words), tags=tuple(tags))


def _pieces(example: TokenExample) -> list[tuple[list[str], str | None]]:
    """Return stretches of words with their type: an entity's, `O`, or `None` for words without a tag."""
    out: list[tuple[list[str], str | None]] = []
    for word, tag in zip(example.words, example.tags, strict=True):
        plain = tag if tag in ("O", None) else str(tag)[2:]
        if out and out[-1][1] == plain and not str(tag).startswith("B-"):
            out[-1][0].append(word)
        else:
            out.append(([word], plain))
    return out


_KINDS: Mapping[type[Example], Callable[..., Example]] = {
    TextExample: _text, TokenExample: _tagged, QuestionExample: _context, GenerationExample: _source,
}


# --- what edits look up ---------------------------------------------------------------------------------------------


def _mentions(examples: Sequence[Any]) -> dict[str, list[tuple[str, ...]]]:
    found: dict[str, list[tuple[str, ...]]] = {}
    for example in examples:
        for words, tag in _pieces(example):
            if tag not in ("O", None):
                found.setdefault(str(tag), []).append(tuple(words))
    return found


def _rows(example: Example) -> list[list[str]]:
    """Return the words that edits of an example look up, text by text."""
    if isinstance(example, TokenExample):
        return [list(example.words)]
    return [spaced(text).split() for text in texts_of(example)]


def neighbours(rows: Sequence[Sequence[str]], size: int = 50, nearest: int = 3, least: int = 3) -> dict[str, list[str]]:
    """Return for each frequent word the words that stand in the most similar contexts of these very texts.

    Static vectors by a truncated SVD of positive pointwise mutual information (Levy and Goldberg 2014) in windows
    of two words each side; no outside data.

    Args:
        rows: Texts to learn from, as words.
        size: Dimensions of the vectors at most.
        nearest: Neighbours of each word.
        least: Occurrences that a word needs.
    """
    import numpy as np

    counts: dict[str, int] = {}
    for word in (word for row in rows for word in row):
        counts[word] = counts.get(word, 0) + 1
    vocabulary = sorted(word for word, count in counts.items() if count >= least)
    if len(vocabulary) < nearest + 2:
        return {}
    vectors = _vectors(rows, {word: i for i, word in enumerate(vocabulary)}, size)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True) + 1e-9
    likeness = vectors @ vectors.T
    np.fill_diagonal(likeness, -np.inf)
    best = np.argsort(-likeness, axis=1, kind="stable")[:, :nearest]
    return {word: [vocabulary[j] for j in best[i]] for i, word in enumerate(vocabulary)}


def _vectors(rows: Sequence[Sequence[str]], index: Mapping[str, int], size: int) -> Any:
    """Return one vector per word, float64 of shape (words, at most size)."""
    import numpy as np
    from scipy.sparse import coo_matrix
    from sklearn.decomposition import TruncatedSVD

    pairs = [
        (index[row[i]], index[row[j]])
        for row in rows
        for i in range(len(row))
        for j in range(max(0, i - 2), min(len(row), i + 3))
        if i != j and row[i] in index and row[j] in index
    ]
    if not pairs:
        return np.zeros((len(index), 1))
    one, two = np.array(pairs).T
    seen = coo_matrix((np.ones(len(pairs)), (one, two)), shape=(len(index), len(index))).tocsr().tocoo()
    total, sums = seen.data.sum(), np.asarray(seen.sum(0)).ravel()
    seen.data = np.maximum(0.0, np.log(seen.data * total / (sums[seen.row] * sums[seen.col])))
    dimensions = min(size, len(index) - 1)
    return TruncatedSVD(dimensions, random_state=0).fit_transform(seen.tocsr())
