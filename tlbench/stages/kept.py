"""Stages of learners that are not the neural loop: what one cell of a strategy computed, the others find."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tlbench.canonical import digest
from tlbench.stages.store import Arrays, Ranks, StageStore
from tlbench.strategy import Stages

STAGE = "learners"


class Kept(Stages):
    """The stages of one cell's learner, in the store of the cache."""

    def __init__(self, store: StageStore, ranks: Ranks, owner: Mapping[str, Any], draw: int) -> None:
        """Take the store, who asks, what identifies the learner's code, and the number of the draw."""
        self.store, self.ranks, self.owner, self.draw = store, ranks, dict(owner), draw
        self._asked: list[dict[str, Any]] = []

    def get_or_make(self, made_from: Mapping[str, Any], make: Callable[[], Arrays]) -> tuple[Arrays, bool]:
        """Return arrays and whether they were there already."""
        address = {**self.owner, "made_from": made_from}
        self._asked.append(address)
        return self.store.in_step(STAGE, address, make, self.ranks)

    @property
    def identity(self) -> str:
        """Return 16 hex digits that stand for all that was asked for; empty if nothing was."""
        return digest(self._asked[0] if len(self._asked) == 1 else self._asked, 16) if self._asked else ""
