"""Extractive question answering: windows over the context, a start and an end score for each token."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from tlbench.engine.encoding import Encoded, Floats, Ragged
from tlbench.engine.forms import Batch, Form, divergence, ragged_of, softmax, trimmed
from tlbench.errors import UnsupportedError
from tlbench.strategy import Prediction
from tlbench.task import QuestionExample, Span

LONGEST_ANSWER = 96
"""Tokens that a predicted answer may have."""
ONE_TOKENIZER = "answers can only be distilled between models with one tokenizer: take a teacher with the student's"


class SpanForm(Form):
    """Point at the first and last token of the answer; windows overlap by a quarter of their length."""

    places = True

    def encode(self, examples: Sequence[Any]) -> Encoded:
        """Tokenize questions with their contexts into windows; a window without the answer points at token 0."""
        questions = [self._short(e.question) + self.frame.separator for e in examples]
        encoding = self.tokenize(
            questions,
            [e.context for e in examples],
            truncation="only_second",
            stride=self.frame.max_length // 4,
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
        )
        owner = np.asarray(encoding["overflow_to_sample_mapping"], dtype=np.int64)
        begins, ends, starts, stops = [], [], [], []
        for row, example in enumerate(owner.tolist()):
            begin, end = self._offsets(encoding, row, examples[example].context)
            start, stop = self._target(examples[example], begin, end)
            begins.append(begin)
            ends.append(end)
            starts.append(start)
            stops.append(stop)
        tokens, extra = ragged_of(encoding)
        extra |= {"begin": Ragged.of(begins, -1), "end": Ragged.of(ends, -1)}
        targets = {"start": np.array(starts, dtype=np.int64), "stop": np.array(stops, dtype=np.int64)}
        return Encoded(tokens, owner, len(examples), extra, targets)

    def _short(self, question: str) -> str:
        """Return the question cut so that it leaves at least half of a window to the context."""
        limit = self.frame.max_length // 2 - 8
        ids = self.frame.tokenizer(question, add_special_tokens=False, return_offsets_mapping=True)
        offsets = ids["offset_mapping"]
        return question if len(offsets) <= limit else question[: offsets[limit - 1][1]]

    @staticmethod
    def _offsets(encoding: Any, row: int, context: str) -> tuple[list[int], list[int]]:
        """Return where each token begins and ends in the context; -1 for tokens outside it."""
        begin, end = [], []
        for (first, last), part in zip(encoding["offset_mapping"][row], encoding.sequence_ids(row), strict=True):
            first = trimmed(context, first, last) if part == 1 else first
            inside = part == 1 and first < last
            begin.append(first if inside else -1)
            end.append(last if inside else -1)
        return begin, end

    @staticmethod
    def _target(example: QuestionExample, begin: Sequence[int], end: Sequence[int]) -> tuple[int, int]:
        """Return the first and last token of the first answer, or (0, 0) if the window does not hold all of it."""
        answer = example.answers[0]
        stop = answer.start + len(answer.text.rstrip())
        inside = [
            i for i, (b, e) in enumerate(zip(begin, end, strict=True)) if b >= 0 and e > answer.start and b < stop
        ]
        if not inside or begin[inside[0]] > answer.start or end[inside[-1]] < stop:
            return 0, 0
        return inside[0], inside[-1]

    def outputs(self) -> int:
        """Return 2: start and end."""
        return 2

    def loss(self, scores: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Return the summed mean of the two cross-entropies over the window's tokens."""
        scores = scores.masked_fill(batch["attention_mask"].unsqueeze(-1) == 0, -1e4)
        first = nn.functional.cross_entropy(scores[..., 0], batch["start"], reduction="sum")
        last = nn.functional.cross_entropy(scores[..., 1], batch["stop"], reduction="sum")
        return (first + last) / 2

    def soften(self, row: Any, temperature: float) -> Floats:
        """Return the distributions of both edges over a window's tokens, (tokens, 2)."""
        return softmax(row / temperature, axis=0)

    def taught(self, encoded: Encoded, rows: Sequence[Floats]) -> list[Floats]:
        """Return the rows, one per window: edges are told by the teacher's own tokens."""
        return list(rows)

    def learns(self, encoded: Encoded, taught: Sequence[Floats]) -> Encoded:
        """Return encoded windows that carry the teachers' distributions.

        Raises:
            UnsupportedError: the teachers cut the texts into other windows or tokens than the student.
        """
        if [len(row) for row in taught] != encoded.tokens.lengths.tolist():
            raise UnsupportedError(ONE_TOKENIZER)
        return super().learns(encoded, taught)

    def soft_loss(self, scores: torch.Tensor, batch: Batch, temperature: float) -> torch.Tensor:
        """Return the summed mean of the two edges' divergences over the window's tokens."""
        scores = scores.masked_fill(batch["attention_mask"].unsqueeze(-1) == 0, -1e4)
        return divergence(scores, batch["soft"], temperature, axis=1).mean(1).sum()

    def weight(self, encoded: Encoded, rows: Sequence[int]) -> float:
        """Return the number of windows."""
        return float(len(rows))

    def decode(self, examples: Sequence[Any], encoded: Encoded, raw: Sequence[Any]) -> list[Prediction]:
        """Return the span with the highest sum of scores over all windows of an example."""
        best: list[tuple[float, Span]] = [(-np.inf, Span("", 0))] * len(examples)
        for row, scores in enumerate(raw):
            owner = int(encoded.owner[row])
            found = self._best(
                scores, encoded.ragged["begin"].row(row), encoded.ragged["end"].row(row), examples[owner].context
            )
            if found[0] > best[owner][0]:
                best[owner] = found
        return [span for _, span in best]

    @staticmethod
    def _best(scores: Any, begin: Any, end: Any, context: str) -> tuple[float, Span]:
        inside = np.flatnonzero(begin[: len(scores)] >= 0)
        if not len(inside):
            return -np.inf, Span("", 0)
        total = scores[inside, 0][:, None] + scores[inside, 1][None, :]
        near = np.triu(np.ones_like(total, dtype=bool)) & ~np.triu(np.ones_like(total, dtype=bool), LONGEST_ANSWER)
        first, last = np.unravel_index(int(np.where(near, total, -np.inf).argmax()), total.shape)
        start = int(begin[inside[first]])
        return float(total[first, last]), Span(context[start : int(end[inside[last]])], start)
