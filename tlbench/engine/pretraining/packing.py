"""Packed sequences: tokenized documents end to end, cut into rows of one length without padding."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlbench.corpora.documents import Documents
from tlbench.engine.families import check_offsets
from tlbench.errors import UserError
from tlbench.setups import Pretraining

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Tokens:
    """Tokenized documents: document `i` is `flat[starts[i]:starts[i + 1]]`, its end token included.

    Attributes:
        flat: Token ids of all distinct documents, int32.
        starts: Where each document starts, and the end; int64.
        reads: Documents of one epoch; a scarce one stands here several times.
        repeats: How often a scarce document is read in an epoch.
    """

    flat: NDArray[np.int32]
    starts: Ints
    reads: Ints
    repeats: int

    @property
    def epoch(self) -> int:
        """Return the tokens of one epoch, repeated documents counted as often as they are read."""
        return int(np.diff(self.starts)[self.reads].sum())

    @property
    def fingerprint(self) -> str:
        """Return the SHA-256 of the token ids."""
        return hashlib.sha256(self.flat.tobytes()).hexdigest()

    def joined(self, order: Ints) -> NDArray[np.int32]:
        """Return the documents in this order, end to end."""
        return np.concatenate([self.flat[self.starts[i]:self.starts[i + 1]] for i in order])


def tokenize(documents: Documents, tokenizer: Any) -> Tokens:
    """Tokenize documents, each with its family's special tokens and with an end token behind it.

    Raises:
        UserError: the tokenizer has no token that could end a document.
    """
    groups = [_ids(texts, tokenizer) for texts in (documents.texts, documents.scarce)]
    often, scarce = ([len(row) for row in group] for group in groups)
    times = repeats(sum(scarce), sum(often), documents.share)
    reads = [*range(len(often)), *(list(range(len(often), len(often) + len(scarce))) * times)]
    flat = np.concatenate([np.empty(0, np.int32), *groups[0], *groups[1]])
    return Tokens(flat, np.cumsum([0, *often, *scarce]), np.array(reads, dtype=np.int64), times)


def repeats(part: int, rest: int, share: float) -> int:
    """Return how often a part must be read to make up a share of all; sizes in any one unit."""
    return max(1, math.ceil(share / (1 - share) * rest / part)) if part else 1


def _ids(texts: Sequence[str], tokenizer: Any) -> list[NDArray[np.int32]]:
    from tokenizers import Tokenizer

    check_offsets(tokenizer)  # which a fast one has
    inner = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())  # a copy: settings of the original must stay
    inner.no_truncation()
    inner.no_padding()
    ends = {tokenizer.eos_token_id, tokenizer.sep_token_id} - {None}
    if not ends:
        raise UserError("the tokenizer has neither an end-of-sequence nor a separator token, so documents would run "
                        "into each other: set eos_token")
    end = tokenizer.eos_token_id if tokenizer.eos_token_id is not None else tokenizer.sep_token_id
    rows = []
    for encoding in inner.encode_batch_fast(list(texts)):
        ids = encoding.ids
        rows.append(np.array(ids if ids and ids[-1] in ends else [*ids, end], dtype=np.int32))
    return rows


class Rows:
    """The batches of a run as a function of the step: epoch after epoch, each in an order of its own.

    The epochs lie end to end and are cut into rows of `length` tokens, the rows that begin in one epoch are
    shuffled among each other. Nothing is lost at the end of an epoch: its last row goes on into the next one.
    """

    def __init__(self, tokens: Tokens, recipe: Pretraining) -> None:
        """Remember what is read and how."""
        self.tokens, self.recipe = tokens, recipe
        self.size = tokens.epoch
        self._text = lru_cache(maxsize=2)(self._epoch_text)
        self._rows = lru_cache(maxsize=2)(self._epoch_rows)

    def batch(self, step: int) -> NDArray[np.int32]:
        """Return the rows of one step, shape (batch, length), int32."""
        first = step * self.recipe.batch
        return np.stack([self.row(number) for number in range(first, first + self.recipe.batch)])

    def row(self, number: int) -> NDArray[np.int32]:
        """Return one row of the endless sequence of rows."""
        epoch = number * self.recipe.length // self.size
        row: NDArray[np.int32] = self._rows(epoch)[number - self._first(epoch)]
        return row

    def _first(self, epoch: int) -> int:
        return -(-epoch * self.size // self.recipe.length)

    def _epoch_text(self, epoch: int) -> NDArray[np.int32]:
        order = np.random.default_rng([self.recipe.seed, 1, epoch]).permutation(self.tokens.reads)
        return self.tokens.joined(order)

    def _epoch_rows(self, epoch: int) -> NDArray[np.int32]:
        first, last = self._first(epoch), self._first(epoch + 1)
        rows = self._slice(first * self.recipe.length, last * self.recipe.length).reshape(-1, self.recipe.length)
        return np.random.default_rng([self.recipe.seed, 4, epoch]).permutation(rows)

    def _slice(self, start: int, stop: int) -> NDArray[np.int32]:
        """Return tokens `start` to `stop` of all epochs end to end."""
        parts = [np.empty(0, np.int32)]
        for epoch in range(start // self.size, -(-stop // self.size)):
            before = epoch * self.size
            parts.append(self._text(epoch)[max(0, start - before):stop - before])
        return np.concatenate(parts)


def packed_rows(tokens: Tokens, recipe: Pretraining) -> NDArray[np.int32]:
    """Return documents, each once and in random order, as rows of the recipe's length; one shorter row if they are few.

    Raises:
        UserError: they hold fewer than 4 tokens.
    """
    joined = tokens.joined(np.random.default_rng([recipe.seed, 3]).permutation(len(tokens.starts) - 1))
    if len(joined) < 4:
        raise UserError(f"the documents hold {len(joined)} tokens, too few for a loss: give more text")
    length = min(recipe.length, len(joined))
    rows = len(joined) // length
    return joined[:rows * length].reshape(rows, length)
