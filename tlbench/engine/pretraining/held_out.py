"""The held-out loss: rows that are never trained on, masked once and for all, and what it is compared with."""

from __future__ import annotations

import numpy as np
import torch

from tlbench.engine.place import Place
from tlbench.engine.pretraining.baselines import Baselines, contexts_of, measure
from tlbench.engine.pretraining.objectives import Student
from tlbench.engine.pretraining.packing import Tokens, packed_rows
from tlbench.setups import Pretraining

ROWS = 128
"""Rows of the loss in the curve; the last point takes all."""
_PART = 32
_MASKS = 3


class HeldOut:
    """Held-out rows as a batch; losses count targets that are tokens of the corpus, no sentinel and no last end."""

    def __init__(self, tokens: Tokens, student: Student, recipe: Pretraining) -> None:
        """Pack and mask the held-out documents."""
        self.rows = packed_rows(tokens, recipe)
        self.documents = len(tokens.starts) - 1
        self.batch = student.objective.batch(self.rows, np.random.default_rng([recipe.seed, _MASKS]))
        self.content = self.batch["places"] >= 0

    @property
    def targets(self) -> int:
        """Return the number of targets that count."""
        return int(self.content.sum())

    def baselines(self, training: Tokens, size: int) -> Baselines:
        """Return the unigram and trigram losses of the same targets."""
        places, content = self.batch["places"].numpy(), self.content.numpy()
        contexts = np.take_along_axis(contexts_of(self.rows), np.maximum(places, 0)[..., None], axis=1)
        return measure(training, size, contexts[content], self.batch["targets"].numpy()[content])

    def loss(self, student: Student, place: Place, rows: int | None = None) -> float:
        """Return the mean loss in nats per target that counts; every rank computes its share of the rows.

        Args:
            student: The model as it is.
            place: Device and ranks.
            rows: Of how many rows; all if absent.
        """
        count = min(rows or len(self.rows), len(self.rows))
        total = torch.zeros(2, dtype=torch.float64)
        with torch.inference_mode():
            for start in range(place.rank * _PART, count, place.world * _PART):
                part = slice(start, min(start + _PART, count))
                batch = {name: values[part].to(place.device) for name, values in self.batch.items()}
                losses = student(batch).cpu()[self.content[part]]
                total += torch.tensor([losses.sum(dtype=torch.float64), losses.numel()])
        total = place.sum(total.to(place.device)).cpu()
        return float(total[0] / total[1])
