"""When a trained predictor is degenerate: the same answer, or none, for nearly every test example."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence

SHARE = 0.95
"""Share of the predictions from which on a predictor counts as degenerate (`docs/protocol.md`, States)."""


def constant(answers: Sequence[Hashable], what: str) -> str | None:
    """Return the sentence for a predictor that gives one answer nearly always, or `None`.

    Args:
        answers: The predictions in a form in which equal ones compare equal; one alone proves nothing.
        what: What the answers are, for example `class`.
    """
    if len(answers) < 2:
        return None
    count = Counter(answers).most_common(1)[0][1]
    return f"one {what} for {_percent(count, len(answers))}" if count >= SHARE * len(answers) else None


def missing(present: Sequence[bool], what: str) -> str | None:
    """Return the sentence for a predictor that gives no answer nearly always, or `None`.

    Args:
        present: Whether there is an answer, by prediction.
        what: What is missing, for example `no entity`.
    """
    if len(present) < 2:
        return None
    count = len(present) - sum(present)
    return f"{what} for {_percent(count, len(present))}" if count >= SHARE * len(present) else None


def texts(answers: Sequence[str], what: str) -> str | None:
    """Return the sentence for empty or identical texts, or `None`; outer white space does not count."""
    stripped = [answer.strip() for answer in answers]
    return missing([bool(answer) for answer in stripped], f"empty {what}") or constant(stripped, what)


def _percent(count: int, of: int) -> str:
    return f"{count} of {of} predictions"
