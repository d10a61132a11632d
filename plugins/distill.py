"""Distillation: a student learns from teachers' outputs beside the labels."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tlbench import Offer, Setup, Strategy, Teacher


@dataclass(frozen=True)
class Distill(Strategy):
    """Train a student on the softened outputs of teachers and on the labels.

    Teachers are fine-tuned on exactly the cell's own labels; an ensemble's outputs are averaged. Outputs are in task
    space, so tokenizers may differ, except for answers, which need one tokenizer. They are computed once, before the
    student learns. For generation one teacher's greedy texts take the place of the targets, so that only `teacher`
    can be set; numbers have no temperature. `scratch+distill` teaches a random student.

    Source: Hinton et al. 2015, arXiv:1503.02531; born-again networks, arXiv:1805.04770, where the model is the
    student's own; for generation Kim and Rush 2016, arXiv:1606.07947, who decode with a beam. Held equal: labels,
    steps, batch size, rates, head of the student. Adds: the teachers. Outside data: what the models were pre-trained
    on. Cost: fine-tuning of each teacher, shared by the conditions that ask for the same ones, and of the student.

    Attributes:
        teacher: Name of another model that teaches; empty takes the student's own.
        members: Teachers that are averaged.
        temperature: Softens the distributions of both sides.
        weight: Share of the teachers' outputs in the loss.
    """

    teacher: str = ""
    members: int = 3
    temperature: float = 2.0
    weight: float = 0.5

    name = "distill"
    summary = "learn from an ensemble's or another model's outputs beside the labels"
    writes = frozenset({"teacher"})

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            ValueError: a number out of its range.
        """
        if self.members < 1 or self.temperature <= 0 or not 0 <= self.weight <= 1:
            raise ValueError("give 1 member or more, a temperature above 0 and a weight from 0 to 1")

    def prepare(self, setup: Setup, offer: Offer) -> Setup:
        """Declare the teachers."""
        chosen = offer.teachers.get(self.teacher)
        if chosen is None:
            return setup
        members = 1 if offer.kind == "text-generation" else self.members
        return replace(
            setup, teacher=Teacher(chosen.model, chosen.setup, members, self.temperature, self.weight)
        )

    def unsupported(self, offer: Offer) -> str | None:
        """Refuse a teacher that cannot learn the task, and options that would change nothing."""
        if self.teacher not in offer.teachers:
            return f"teacher {self.teacher or 'of the same model'!r} is no model that can learn {offer.kind}"
        usual = Distill(self.teacher)
        if offer.kind == "text-generation" and self != usual:
            return "one teacher teaches generation, by its texts alone: leave out members, temperature and weight"
        if offer.kind == "text-regression" and self.temperature != usual.temperature:
            return "teachers of text regression give numbers, which nothing softens: leave out temperature"
        return None
