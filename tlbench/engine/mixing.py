"""Which streams have a turn in a step, and with what share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tlbench.setups import Mixture


class Mixer:
    """The order of the streams of one phase; stream 0 is the target.

    Drawing takes each step's batch from one stream, by sizes to the power of 1/temperature (Raffel et al. 2020,
    arXiv:1910.10683, after Devlin's sampling), and takes so many steps that the target has about as many turns as
    alone. Summing adds the losses of one batch of the target and one of each stream in every step.
    """

    def __init__(self, mixture: Mixture | None, sizes: Sequence[int], seed: int) -> None:
        """Take the mixture (`None`: the target alone), the rows of each stream, and the seed of the draws."""
        self.mixture = mixture
        self.generator = np.random.default_rng([seed, 1])
        weights = np.asarray(sizes, dtype=np.float64) ** (1 / mixture.temperature if mixture else 1.0)
        self.shares = weights / weights.sum()

    @property
    def longer(self) -> float:
        """Return the steps in multiples of those that the target takes alone."""
        return float(1 / self.shares[0]) if self.mixture and self.mixture.mode == "draw" else 1.0

    def turns(self, step: int, usual: int) -> list[tuple[int, float]]:
        """Return the streams that have a turn in a step, counted from 1, with their shares of the loss.

        The target's share in a sum moves over the `usual` steps of fine-tuning and then stays; streams without a share
        have no turn any more.
        """
        if self.mixture is None:
            return [(0, 1.0)]
        if self.mixture.mode == "draw":
            return [(int(self.generator.choice(len(self.shares), p=self.shares)), 1.0)]
        along = min(1.0, (step - 1) / max(1, usual - 1))
        target = self.mixture.weight + (self.mixture.last - self.mixture.weight) * along
        if step > usual and target >= 1:
            return [(0, 1.0)]  # a longer training than fine-tuning's ends with the target alone
        others = len(self.shares) - 1
        return [(0, target), *((i, (1 - target) / others) for i in range(1, others + 1))]
