"""Acme's support tickets: which team has to answer?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tlbench import DataSource, Splits, Task, TextExample

TEAMS = {
    "billing": ("invoice", "refund", "card", "price", "receipt"),
    "delivery": ("parcel", "courier", "address", "box", "tracking"),
    "account": ("password", "login", "email", "profile", "username"),
}
OPENINGS = ("Hello, my", "Please look at the", "Again the", "Nobody answers about my", "Urgent: the")
TROUBLES = ("is wrong", "never came", "has vanished", "was charged twice", "does not work", "looks odd")


class AcmeTickets(Task):
    """The team (billing, delivery, account) of a one-line ticket.

    Made by rule, so the package carries no data: every combination of opening, subject and trouble once, dealt
    to training (two of three) and test. The subject's word decides; a linear model finds it with enough labels.
    """

    name = "acme-tickets"
    kind = "text-classification"
    summary = "the team of a support ticket (made by rule)"
    licence = "CC0-1.0"
    homepage = "https://example.org/acme-tlbench"
    metric = "macro_f1"
    default_budget = 100
    sources = ("acme-tickets",)

    def load(self, source: DataSource) -> Splits:
        """Return 300 training and 150 test tickets."""
        tickets = [
            TextExample(f"{team}-{subject}-{o}-{t}", f"{opening} {subject} {trouble}.", team)
            for team, subjects in TEAMS.items()
            for subject in subjects
            for o, opening in enumerate(OPENINGS)
            for t, trouble in enumerate(TROUBLES)
        ]
        return Splits(
            train=[ticket for place, ticket in enumerate(tickets) if place % 3],
            test=[ticket for place, ticket in enumerate(tickets) if place % 3 == 0],
        )

    def identity(self, source: DataSource) -> Mapping[str, Any]:
        """Return what pins the tickets: the version of the rule that makes them."""
        return {"rule": 1}
