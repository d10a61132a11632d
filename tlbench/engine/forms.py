"""Forms: the neural side of a kind. What a text is to a model, the head, its loss, and back to task space."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from tlbench.engine.encoding import EVALUATION_ROWS, Encoded, Floats, Ragged
from tlbench.engine.families import check_offsets, check_windows
from tlbench.iob2 import legal
from tlbench.setups import Family
from tlbench.strategy import Prediction
from tlbench.task import Example

if TYPE_CHECKING:
    from tlbench.engine.machine import Machine

Batch = dict[str, torch.Tensor]
IGNORED = -100


@dataclass(frozen=True)
class Frame:
    """What a form knows about model and task.

    Attributes:
        tokenizer: A fast tokenizer of transformers.
        family: Family of the model.
        pooling: `mean` or `cls`.
        max_length: Tokens of a row.
        max_target_length: Tokens of a target, for generation.
        labels: Label space of the task.
        standardise: Whether numbers are learned in standard deviations of the training labels from their mean.
        centre: That mean.
        spread: That standard deviation.
        separator: What stands between two texts beside what the tokenizer puts there.
    """

    tokenizer: Any
    family: Family
    pooling: str
    max_length: int
    max_target_length: int
    labels: tuple[str, ...]
    standardise: bool = False
    centre: float = 0.0
    spread: float = 1.0
    separator: str = ""


class Form(ABC):
    """The neural side of one kind.

    Attributes:
        generates: Whether the whole generating model is used, without a head.
        pooled: Whether frozen features are one vector per row instead of one per token.
        places: Whether the tokenizer must say where its tokens lie in a text.
    """

    generates = False
    pooled = False
    places = False

    def __init__(self, frame: Frame) -> None:
        """Remember model and task.

        Raises:
            UserError: the tokenizer does not say where its tokens lie or loses some, and the form needs them.
        """
        if self.places:
            check_offsets(frame.tokenizer)
            check_windows()
        self.frame = frame

    def fitted(self, examples: Sequence[Example]) -> Form:
        """Return the form that knows what encoding and decoding take from training examples; most need nothing."""
        return self

    @abstractmethod
    def encode(self, examples: Sequence[Example]) -> Encoded:
        """Return token arrays with everything that loss and decoding need."""

    @abstractmethod
    def outputs(self) -> int:
        """Return the width of the head's output; 0 without a head."""

    @abstractmethod
    def loss(self, scores: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Return the summed loss of a batch, a float32 scalar."""

    @abstractmethod
    def weight(self, encoded: Encoded, rows: Sequence[int]) -> float:
        """Return by how much the summed loss of these rows is divided: examples, words or target tokens."""

    def scores(self, machine: Machine, batch: Batch) -> torch.Tensor:
        """Return the head's output: (rows, tokens, width), or (rows, width) where the form pools."""
        hidden = machine.hidden(batch)
        if self.pooled and "hidden" in batch:
            hidden = hidden[:, 0]
        elif self.pooled:
            hidden = self.pool(hidden, batch["attention_mask"])
        assert machine.head is not None
        # Logits rounded to bfloat16 tie; the head is cheap, so it runs in float32 under any autocast.
        with torch.autocast(hidden.device.type, enabled=False):
            scores: torch.Tensor = machine.head(hidden.float())
        return scores

    def pool(self, hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Return one vector per row, (rows, width), from (rows, tokens, width): masked mean or first token."""
        if self.frame.pooling == "cls" and self.frame.family == "encoder":
            return hidden[:, 0]
        weights = mask.unsqueeze(-1).to(hidden.dtype)
        return (hidden * weights).sum(1) / weights.sum(1).clamp(min=1)

    def rows_at_once(self, machine: Machine) -> int:
        """Return of how many rows at most the loss is taken in one evaluation; no accident of memory may change it."""
        return EVALUATION_ROWS

    def raw(self, machine: Machine, batch: Batch) -> list[Any]:
        """Return what decoding needs of each row of a batch, as NumPy arrays."""
        return self.rows(self.scores(machine, batch), batch)

    def rows(self, scores: torch.Tensor, batch: Batch) -> list[Any]:
        """Return the scores of a batch row by row, float32 NumPy arrays without padding."""
        values = scores.cpu().numpy()
        lengths = batch["attention_mask"].sum(1).tolist()
        return [row if self.pooled else row[:length] for row, length in zip(values, lengths, strict=True)]

    @abstractmethod
    def decode(self, examples: Sequence[Example], encoded: Encoded, raw: Sequence[Any]) -> list[Prediction]:
        """Return one prediction per example, in task space, from the raw output of each row."""

    def soften(self, row: Any, temperature: float) -> Floats:
        """Return a row's raw output as what a student learns from: probabilities over the last axis, (n, classes)."""
        return softmax(np.atleast_2d(row) / temperature)

    def taught(self, encoded: Encoded, rows: Sequence[Floats]) -> list[Floats]:
        """Return softened rows in task space: one array per example, (1, classes) or (1, 1) where the form pools."""
        return list(rows)

    def learns(self, encoded: Encoded, taught: Sequence[Floats]) -> Encoded:
        """Return encoded examples that carry what teachers said of them, aligned with the student's rows."""
        return replace(encoded, ragged={**encoded.ragged, "soft": stacked(taught)})

    def soft_loss(self, scores: torch.Tensor, batch: Batch, temperature: float) -> torch.Tensor:
        """Return the summed divergence from the teachers' distributions (Hinton et al. 2015, arXiv:1503.02531).

        Kullback-Leibler, times the squared temperature, so that gradients keep their size.
        """
        return divergence(scores, batch["soft"][:, 0], temperature).sum()

    def tokenize(self, texts: Sequence[str], pairs: Sequence[str] | None = None, **options: Any) -> Any:
        """Return the tokenizer's encoding, truncated to the frame's length."""
        options = {"truncation": True, "max_length": self.frame.max_length, **options}
        return self.frame.tokenizer(list(texts), list(pairs) if pairs is not None else None, **options)


def ragged_of(encoding: Any) -> tuple[Ragged, dict[str, Ragged]]:
    """Return the token ids of a tokenizer's encoding, and its segment ids where the model uses them."""
    extra = {}
    if "token_type_ids" in encoding:
        extra["token_type_ids"] = Ragged.of(encoding["token_type_ids"])
    # A text of which the tokenizer leaves nothing still needs one position for the model to run.
    return Ragged.of([row or [0] for row in encoding["input_ids"]]), extra


class ClassificationForm(Form):
    """Pool and classify a text or a pair."""

    pooled = True

    def encode(self, examples: Sequence[Any]) -> Encoded:
        """Tokenize texts (with their pairs); the label's index goes with each row, -100 if it is unknown."""
        pairs = [self.frame.separator + (e.text_pair or "") for e in examples] if any(
            e.text_pair is not None for e in examples) else None
        tokens, extra = ragged_of(self.tokenize([e.text for e in examples], pairs))
        targets = np.array([self._target(e.label) for e in examples])
        return Encoded(tokens, np.arange(len(examples)), len(examples), extra, {"labels": targets})

    def _target(self, label: Any) -> Any:
        return self.frame.labels.index(label) if label in self.frame.labels else IGNORED

    def outputs(self) -> int:
        """Return the number of classes."""
        return len(self.frame.labels)

    def loss(self, scores: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Return the summed cross-entropy."""
        return nn.functional.cross_entropy(scores, batch["labels"], reduction="sum", ignore_index=IGNORED)

    def weight(self, encoded: Encoded, rows: Sequence[int]) -> float:
        """Return the number of rows."""
        return float(len(rows))

    def decode(self, examples: Sequence[Example], encoded: Encoded, raw: Sequence[Any]) -> list[Prediction]:
        """Return the class with the highest score."""
        return [self.frame.labels[int(np.argmax(row))] for row in raw]


class RegressionForm(ClassificationForm):
    """Pool and predict a number, inside in standard deviations of the training labels from their mean.

    Raw numbers far from 0, as prices or years, would take a head that starts at 0 and moves by small steps for ever.
    """

    def fitted(self, examples: Sequence[Any]) -> Form:
        """Return the form that knows mean and standard deviation of the labels, float64; equal labels have 1."""
        if not self.frame.standardise:
            return self
        numbers = np.array([float(example.label) for example in examples])
        centre, spread = float(numbers.mean()), float(numbers.std())
        flat = spread <= 1e-9 * np.abs(numbers).max()  # equal numbers may have a mean that differs in the last bit
        return type(self)(replace(self.frame, centre=centre, spread=1.0 if flat else spread))

    def _target(self, label: Any) -> Any:
        return np.float32((float(label) - self.frame.centre) / self.frame.spread)

    def _number(self, score: Any) -> Any:
        return self.frame.centre + self.frame.spread * np.asarray(score, dtype=np.float64)

    def outputs(self) -> int:
        """Return 1."""
        return 1

    def loss(self, scores: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Return the summed squared error."""
        return nn.functional.mse_loss(scores[:, 0], batch["labels"].float(), reduction="sum")

    def soften(self, row: Any, temperature: float) -> Floats:
        """Return the number itself, (1, 1)."""
        return np.atleast_2d(self._number(row)).astype(np.float32)

    def soft_loss(self, scores: torch.Tensor, batch: Batch, temperature: float) -> torch.Tensor:
        """Return the summed squared difference from the teachers' numbers."""
        soft = (batch["soft"][:, 0, 0] - self.frame.centre) / self.frame.spread
        return nn.functional.mse_loss(scores[:, 0], soft, reduction="sum")

    def decode(self, examples: Sequence[Example], encoded: Encoded, raw: Sequence[Any]) -> list[Prediction]:
        """Return the number."""
        return [float(self._number(row[0])) for row in raw]


class TaggingForm(Form):
    """Tag each word at one of its tokens: the first, or the last for a decoder, which has then read the word."""

    places = True

    def encode(self, examples: Sequence[Any]) -> Encoded:
        """Tokenize the words joined by spaces; texts longer than the model become several rows."""
        texts = [" ".join(e.words) for e in examples]
        encoding = self.tokenize(texts, return_overflowing_tokens=True, return_offsets_mapping=True)
        owner = np.asarray(encoding["overflow_to_sample_mapping"], dtype=np.int64)
        words, tags = [], []
        for row, example in enumerate(owner.tolist()):
            places = self._places(texts[example], examples[example].words, encoding["offset_mapping"][row])
            words.append(places)
        self._keep_one(owner.tolist(), words)
        for row, example in enumerate(owner.tolist()):
            tags.append([self._tag(examples[example].tags[w]) if w >= 0 else IGNORED for w in words[row]])
        tokens, extra = ragged_of(encoding)
        extra |= {
            "word": Ragged.of([row or [-1] for row in words], -1),
            "labels": Ragged.of([row or [IGNORED] for row in tags], IGNORED),
        }
        return Encoded(tokens, owner, len(examples), extra)

    def _keep_one(self, owner: Sequence[int], words: Sequence[list[int]]) -> None:
        """Unmark a word that a row's end splits in the row that does not hold its tagged token."""
        seen: set[tuple[int, int]] = set()
        rows = range(len(words))
        for row in reversed(rows) if self.frame.family == "decoder" else rows:
            here = {(owner[row], word) for word in words[row]}
            words[row][:] = [-1 if (owner[row], word) in seen else word for word in words[row]]
            seen |= here

    def _tag(self, tag: str | None) -> int:
        return self.frame.labels.index(tag) if tag in self.frame.labels else IGNORED

    def _places(self, text: str, words: Sequence[str], offsets: Sequence[tuple[int, int]]) -> list[int]:
        """Return for each token the word that is tagged at it, or -1."""
        starts = np.cumsum([0, *[len(word) + 1 for word in words]])
        of_token = []
        for start, end in offsets:
            start = trimmed(text, start, end)
            of_token.append(int(np.searchsorted(starts, start, side="right")) - 1 if start < end else -1)
        chosen: dict[int, int] = {}
        for place, word in enumerate(of_token):
            if word >= 0 and (self.frame.family == "decoder" or word not in chosen):
                chosen[word] = place
        marked = [-1] * len(of_token)
        for word, place in chosen.items():
            marked[place] = word
        return marked

    def outputs(self) -> int:
        """Return the number of tags."""
        return len(self.frame.labels)

    def loss(self, scores: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Return the cross-entropy summed over tagged words."""
        return nn.functional.cross_entropy(
            scores.flatten(0, 1), batch["labels"].flatten(), reduction="sum", ignore_index=IGNORED
        )

    def weight(self, encoded: Encoded, rows: Sequence[int]) -> float:
        """Return the number of tagged words."""
        return known(encoded.ragged["labels"], rows)

    def taught(self, encoded: Encoded, rows: Sequence[Floats]) -> list[Floats]:
        """Return the teachers' distribution for each word, (words, tags); zeros where no token stands for it."""
        places = encoded.ragged["word"]
        sizes = np.zeros(encoded.examples, dtype=np.int64)
        for row, owner in enumerate(encoded.owner.tolist()):
            sizes[owner] = max(sizes[owner], int(places.row(row).max()) + 1)
        out = [np.zeros((size, len(self.frame.labels)), dtype=np.float32) for size in sizes]
        for row, owner in enumerate(encoded.owner.tolist()):
            for place, word in enumerate(places.row(row).tolist()):
                if word >= 0 and place < len(rows[row]):
                    out[owner][word] = rows[row][place]
        return out

    def learns(self, encoded: Encoded, taught: Sequence[Floats]) -> Encoded:
        """Return encoded examples whose tokens carry the distribution of the word that they stand for."""
        soft = []
        for row, owner in enumerate(encoded.owner.tolist()):
            words = encoded.ragged["word"].row(row).tolist()
            known = taught[owner]
            nothing = np.zeros(len(self.frame.labels), dtype=np.float32)
            soft.append(np.stack([known[w] if 0 <= w < len(known) else nothing for w in words]))
        return replace(encoded, ragged={**encoded.ragged, "soft": stacked(soft)})

    def soft_loss(self, scores: torch.Tensor, batch: Batch, temperature: float) -> torch.Tensor:
        """Return the divergence summed over the words that have a tag and a teacher's distribution."""
        asked = (batch["labels"] != IGNORED) & (batch["soft"].sum(-1) > 0)
        return (divergence(scores, batch["soft"], temperature) * asked).sum()

    def decode(self, examples: Sequence[Any], encoded: Encoded, raw: Sequence[Any]) -> list[Prediction]:
        """Return a tag per word; a word that no token stands for is outside, and tags are made legal IOB2."""
        tags = [["O"] * len(e.words) for e in examples]
        for row, scores in enumerate(raw):
            best = np.argmax(scores, axis=-1)
            for place, word in enumerate(encoded.ragged["word"].row(row).tolist()):
                if word >= 0 and place < len(best):
                    tags[int(encoded.owner[row])][word] = self.frame.labels[int(best[place])]
        return [legal(sequence) for sequence in tags]


def known(targets: Ragged, rows: Sequence[int]) -> float:
    """Return how many targets of some rows are not ignored, at least 1: what a summed loss is divided by."""
    return float(max(1, sum(int((targets.row(row) != IGNORED).sum()) for row in rows)))


def softmax(scores: Any, axis: int = -1) -> Floats:
    """Return probabilities along an axis, float32 of the same shape."""
    from scipy.special import softmax as exact

    shares: Floats = exact(np.asarray(scores, dtype=np.float64), axis=axis).astype(np.float32)
    return shares


def stacked(rows: Sequence[Floats]) -> Ragged:
    """Return rows of shape (n, width) end to end."""
    starts = np.zeros(len(rows) + 1, dtype=np.int64)
    np.cumsum([len(row) for row in rows], out=starts[1:])
    return Ragged(np.concatenate(rows), starts)


def divergence(scores: torch.Tensor, soft: torch.Tensor, temperature: float, axis: int = -1) -> torch.Tensor:
    """Return the Kullback-Leibler divergence along an axis times the squared temperature; the axis is gone."""
    logs = nn.functional.log_softmax(scores / temperature, axis)
    return nn.functional.kl_div(logs, soft, reduction="none").sum(axis) * temperature**2


def trimmed(text: str, start: int, end: int) -> int:
    """Return where a token's text begins: Metaspace tokenizers count the space in front of a word as its own."""
    while start < end and text[start].isspace():
        start += 1
    return start
