"""Token arrays: rows of different lengths kept flat, and the batches cut from them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Ragged:
    """Sequences of different lengths in one flat array.

    Attributes:
        flat: Values of all rows, shape (sum of lengths,), or (sum of lengths, width) for features.
        starts: Where each row starts, int64 of shape (rows + 1,).
        fill: Value that pads.
    """

    flat: NDArray[np.generic]
    starts: Ints
    fill: float = 0

    @classmethod
    def of(cls, rows: Sequence[Sequence[int]], fill: int = 0) -> Ragged:
        """Build from lists of integers."""
        starts = np.zeros(len(rows) + 1, dtype=np.int64)
        np.cumsum([len(row) for row in rows], out=starts[1:])
        flat = np.fromiter((value for row in rows for value in row), dtype=np.int32, count=int(starts[-1]))
        return cls(flat, starts, fill)

    @cached_property
    def lengths(self) -> Ints:
        """Length of each row."""
        return np.diff(self.starts)

    def row(self, index: int) -> NDArray[np.generic]:
        """Return one row without padding."""
        return self.flat[self.starts[index] : self.starts[index + 1]]

    @classmethod
    def joined(cls, parts: Sequence[Ragged]) -> Ragged:
        """Return the rows of several, end to end; at least one, all of one width and fill."""
        starts = np.cumsum([0, *(length for part in parts for length in part.lengths)], dtype=np.int64)
        return cls(np.concatenate([part.flat for part in parts]), starts, parts[0].fill)

    def taken(self, rows: Sequence[int]) -> Ragged:
        """Return these rows, in this order."""
        starts = np.zeros(len(rows) + 1, dtype=np.int64)
        np.cumsum(self.lengths[list(rows)], out=starts[1:])
        flat = np.concatenate([self.flat[:0], *(self.row(row) for row in rows)])
        return Ragged(flat, starts, self.fill)

    def padded(self, rows: Sequence[int]) -> torch.Tensor:
        """Return the rows padded on the right to the longest, shape (rows, longest) plus the width, if any."""
        longest = max(1, max(int(self.lengths[row]) for row in rows))
        shape = (len(rows), longest, *self.flat.shape[1:])
        kind = np.int64 if self.flat.dtype.kind == "i" else self.flat.dtype
        out = np.full(shape, self.fill, dtype=kind)
        for place, row in enumerate(rows):
            values = self.row(row)
            out[place, : len(values)] = values
        return torch.from_numpy(out)


@dataclass(frozen=True)
class Encoded:
    """Examples as a model's token arrays.

    Attributes:
        tokens: Token ids of each row (a window of an example, or the example).
        owner: Position of the example that each row belongs to, int64 of shape (rows,).
        examples: Number of examples.
        ragged: Further arrays with the same row structure or one of their own (segment ids, tags, targets).
        per_row: Further values, one per row (labels, answer positions).
        hidden: Frozen features in place of tokens, once computed.
    """

    tokens: Ragged
    owner: Ints
    examples: int
    ragged: Mapping[str, Ragged] = field(default_factory=dict)
    per_row: Mapping[str, NDArray[np.generic]] = field(default_factory=dict)
    hidden: Ragged | None = None

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.owner)

    def batch(self, rows: Sequence[int], device: torch.device) -> dict[str, torch.Tensor]:
        """Return padded tensors of the given rows on the device; `attention_mask` marks real tokens."""
        lengths = torch.from_numpy(self.tokens.lengths[list(rows)])
        width = max(1, int(lengths.max()))
        out = {"attention_mask": (torch.arange(width)[None, :] < lengths[:, None]).long()}
        if self.hidden is None:
            out["input_ids"] = self.tokens.padded(rows)
        else:
            out["hidden"] = self.hidden.padded(rows)
        out |= {name: ragged.padded(rows) for name, ragged in self.ragged.items()}
        out |= {name: torch.from_numpy(values[list(rows)]) for name, values in self.per_row.items()}
        return {name: tensor.to(device, non_blocking=True) for name, tensor in out.items()}


def training_batches(lengths: Ints, size: int, window: int, generator: np.random.Generator) -> Iterator[list[int]]:
    """Yield the batches of one epoch after another, without end.

    Each epoch is a fresh permutation; inside windows of `window` batches rows are sorted by length, so that
    batches are cut from rows of like length, and the batches of a window are shuffled again.
    """
    while True:
        order = generator.permutation(len(lengths))
        for start in range(0, len(order), size * window):
            chunk = order[start : start + size * window]
            if window > 1:
                chunk = chunk[np.argsort(lengths[chunk], kind="stable")]
            batches = [chunk[i : i + size].tolist() for i in range(0, len(chunk), size)]
            for place in generator.permutation(len(batches)) if window > 1 else range(len(batches)):
                yield batches[place]


EVALUATION_ROWS = 64
"""Rows of a batch that is evaluated, at most."""


def evaluation_batches(lengths: Ints, tokens: int = 8192, rows: int = EVALUATION_ROWS) -> list[list[int]]:
    """Return the one canonical plan of batches: sorted by length, at most `tokens` padded tokens each.

    The plan depends on the lengths alone; ranks share batches out, never rows, so that one process and two
    compute the same numbers.
    """
    order = np.argsort(lengths, kind="stable")[::-1]
    batches: list[list[int]] = []
    current: list[int] = []
    for row in order.tolist():
        longest = int(lengths[current[0]]) if current else int(lengths[row])
        if current and (len(current) >= rows or (len(current) + 1) * max(1, longest) > tokens):
            batches.append(current)
            current = []
        current.append(row)
    return [*batches, current] if current else batches
