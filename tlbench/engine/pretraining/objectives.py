"""What a model learns from a packed row: span corruption, masked tokens, or the next token.

An objective turns rows into a batch as a pure function of a generator, and asks the model for the logits of its
targets. Batches hold the model's arguments and two arrays of one shape: `targets`, token ids or -100, and `places`,
where in its row a target stands, -1 for a sentinel or an end that is no token of the corpus.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tlbench.engine.forms import IGNORED
from tlbench.engine.precision import Precision, autocast
from tlbench.engine.pretraining.vocabulary import Symbols
from tlbench.errors import UserError
from tlbench.setups import Pretraining

Ints = NDArray[np.int64]
Batch = dict[str, Tensor]
_MASKED, _RANDOM = 0.8, 0.9
"""Below the first a chosen token becomes the mask, below the second a random token, else it stays (BERT)."""


@dataclass(frozen=True)
class Objective(ABC):
    """One way to make a task of plain text."""

    recipe: Pretraining
    symbols: Symbols

    @abstractmethod
    def batch(self, rows: NDArray[Any], generator: np.random.Generator) -> Batch:
        """Return a batch of rows of shape (rows, length); every number in it comes from `generator`."""

    @abstractmethod
    def logits(self, model: Any, batch: Batch) -> Tensor:
        """Return the logits of every target, shape (rows, targets, vocabulary)."""


class SpanCorruption(Objective):
    """Replace random spans by sentinels; the decoder writes each sentinel and what it stands for."""

    def batch(self, rows: NDArray[Any], generator: np.random.Generator) -> Batch:
        """Return encoder tokens, targets and shifted targets; at length 141 of 128, 29 and 29 tokens."""
        found = [self.corrupt(row, generator) for row in rows]
        inputs, targets, places = (torch.from_numpy(np.stack(part)) for part in zip(*found, strict=True))
        shifted = torch.cat([torch.full_like(targets[:, :1], self.symbols.start), targets[:, :-1]], dim=1)
        return {"input_ids": inputs, "decoder_input_ids": shifted, "targets": targets, "places": places}

    def corrupt(self, row: NDArray[Any], generator: np.random.Generator) -> tuple[Ints, Ints, Ints]:
        """Return encoder tokens, targets and the targets' places; tokens and targets end with the end token.

        The numbers of masked tokens and of spans follow from the row's length, as in T5; two spans never touch.
        """
        masked = max(1, round(len(row) * self.recipe.noise))
        spans = span_count(len(row), self.recipe)
        noise = segment(masked, spans, generator)
        keep = segment(len(row) - masked + 2, spans + 1, generator)
        keep[[0, -1]] -= 1  # a text may begin or end with a span; between two spans at least one token stays
        cuts = np.cumsum(np.ravel(np.column_stack([keep[:-1], noise])))
        pieces, at = np.split(row.astype(np.int64), cuts), np.split(np.arange(len(row)), cuts)
        marks = [np.array([mark]) for mark in self.symbols.sentinels[:spans]]
        end, none = np.array([self.symbols.end]), np.array([-1])
        inputs = [part for pair in zip(pieces[:-1:2], marks, strict=True) for part in pair]
        targets = [part for pair in zip(marks, pieces[1::2], strict=True) for part in pair]
        places = [part for piece in at[1::2] for part in (none, piece)]
        return (np.concatenate([*inputs, pieces[-1], end]), np.concatenate([*targets, end]),
                np.concatenate([*places, none]))

    def logits(self, model: Any, batch: Batch) -> Tensor:
        """Return the decoder's logits."""
        logits: Tensor = model(input_ids=batch["input_ids"], decoder_input_ids=batch["decoder_input_ids"],
                               use_cache=False).logits
        return logits


class Masked(Objective):
    """Choose a share of the tokens, hide most of them, and ask for all of them; special tokens are never chosen."""

    def batch(self, rows: NDArray[Any], generator: np.random.Generator) -> Batch:
        """Return corrupted tokens and, of the same number in every row, the chosen ones as targets."""
        special = np.isin(rows, self.symbols.special)
        draws = generator.random(rows.shape)
        draws[special] = 2.0
        count = max(1, round(self.recipe.noise * rows.shape[1]))
        places = np.sort(np.argsort(draws, axis=1, kind="stable")[:, :count], axis=1)
        ids = rows.astype(np.int64)
        targets = np.take_along_axis(ids, places, axis=1)
        unusable = np.take_along_axis(special, places, axis=1)
        np.put_along_axis(ids, places, np.where(unusable, targets, self._hidden(targets, generator)), axis=1)
        targets[unusable], at = IGNORED, np.where(unusable, -1, places)
        return {"input_ids": torch.from_numpy(ids), "targets": torch.from_numpy(targets),
                "places": torch.from_numpy(at)}

    def _hidden(self, tokens: Ints, generator: np.random.Generator) -> Ints:
        ordinary = np.setdiff1d(np.arange(self.symbols.size), self.symbols.special)
        fate = generator.random(tokens.shape)
        drawn = ordinary[generator.integers(0, len(ordinary), tokens.shape)]
        return np.where(fate < _MASKED, self.symbols.mask, np.where(fate < _RANDOM, drawn, tokens))

    def logits(self, model: Any, batch: Batch) -> Tensor:
        """Return the logits at the chosen places; BERT's output layer, a quarter of the work, runs only there."""
        places = batch["places"].clamp(min=0)[..., None]
        sparse = model.config.model_type == "bert"
        states = model.bert(batch["input_ids"]).last_hidden_state if sparse else model(batch["input_ids"]).logits
        chosen: Tensor = torch.gather(states, 1, places.expand(-1, -1, states.shape[-1]))
        return model.cls(chosen) if sparse else chosen


class Causal(Objective):
    """Predict each token from those before it; the first one of a row is not predicted."""

    def batch(self, rows: NDArray[Any], generator: np.random.Generator) -> Batch:
        """Return all tokens but the last as input and all but the first as targets."""
        ids = torch.from_numpy(rows.astype(np.int64))
        places = torch.arange(1, ids.shape[1]).expand(len(ids), -1).contiguous()
        return {"input_ids": ids[:, :-1].contiguous(), "targets": ids[:, 1:].contiguous(), "places": places}

    def logits(self, model: Any, batch: Batch) -> Tensor:
        """Return the logits of every next token."""
        logits: Tensor = model(input_ids=batch["input_ids"], use_cache=False).logits
        return logits


class Student(nn.Module):
    """A model with its objective: what is trained, and what ranks wrap."""

    def __init__(self, model: nn.Module, objective: Objective, precision: Precision) -> None:
        """Put them together, in eval mode, which is dropout 0; pre-training leaves it there."""
        super().__init__()
        self.model, self.objective, self.precision = model, objective, precision
        self.eval()

    def forward(self, batch: Batch) -> Tensor:
        """Return the cross-entropy of every target in nats, float32, shape of the targets; 0 where ignored."""
        targets = batch["targets"]
        with autocast(self.precision, targets.device):
            logits = self.objective.logits(self.model, batch)
        losses = nn.functional.cross_entropy(
            logits.float().flatten(0, 1), targets.flatten(), reduction="none", ignore_index=IGNORED)
        return losses.view_as(targets)


_OBJECTIVES: dict[str, tuple[str, type[Objective]]] = {
    "span-corruption": ("encoder-decoder", SpanCorruption),
    "masked": ("encoder", Masked),
    "causal": ("decoder", Causal),
}


def family_check(recipe: Pretraining, family: str) -> None:
    """Refuse an objective that is not one for the family.

    Raises:
        UserError: it is not.
    """
    if _OBJECTIVES.get(recipe.objective, ("",))[0] != family:
        own = next(name for name, (of, _) in _OBJECTIVES.items() if of == family)
        raise UserError(f"objective {recipe.objective!r} is not one for the family {family!r}: use {own!r}")


def objective_for(recipe: Pretraining, family: str, symbols: Symbols) -> Objective:
    """Return the recipe's objective.

    Raises:
        UserError: it is not one for the family, or the tokenizer lacks the mask or the sentinels.
    """
    family_check(recipe, family)
    if family == "encoder" and symbols.mask < 0:
        raise UserError("the tokenizer has no mask token, which masked language modelling needs: take another model")
    if family == "encoder-decoder":
        needed = span_count(recipe.length, recipe)
        if len(symbols.sentinels) < needed or symbols.end < 0 or symbols.start < 0:
            raise UserError(f"span corruption needs {needed} sentinels (<extra_id_0> ...), an end and a start token, "
                            f"and this model has {len(symbols.sentinels)} sentinels: take a T5-like model or shorter "
                            "sequences")
    return _OBJECTIVES[recipe.objective][1](recipe, symbols)


def span_count(length: int, recipe: Pretraining) -> int:
    """Return the number of masked spans in a row of this many tokens."""
    masked = max(1, round(length * recipe.noise))
    return max(1, min(masked, length - masked + 1, round(masked / recipe.span)))


def segment(total: int, parts: int, generator: np.random.Generator) -> Ints:
    """Return `parts` random lengths of at least 1 that sum to `total`."""
    cuts: Ints = generator.choice(total - 1, parts - 1, replace=False)
    return np.diff(np.concatenate([[0], np.sort(cuts) + 1, [total]])).astype(np.int64)
