"""Prompts of worked examples: which ones are drawn, and what is left out where they do not fit."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tlbench import Example, LearnerModel, Prediction, Template, TextExample, UnsupportedError

if TYPE_CHECKING:
    from .answers import Answers


class Prompter(LearnerModel):
    """Writes prompts, asks the model and reads its answers."""

    def __init__(self, config: Mapping[str, Any], answers: Answers, seed: int) -> None:
        self.template = Template(config["template"])
        self.config, self.answers, self.seed = config, answers, seed
        self.gap = ""
        self.counts = {"prompts": 0, "prompts_with_fewer_shots": 0, "prompts_with_cut_text": 0}

    def fit(self, train: Sequence[Example], validation: Sequence[Example]) -> Mapping[str, Any]:
        """Learn the names of the answers and draw the worked examples.

        Raises:
            UnsupportedError: the model holds no prompt in front of the longest answer, or is to fill a gap and cannot.
        """
        if self.config.get("infill"):
            if self.model.gap is None:
                raise UnsupportedError("the model has no sentinels (<extra_id_0> ...), so it fills no gaps: prompt it "
                                       "without infill")
            self.gap = self.answers.lead + self.model.gap
        self.answers.learn(train)
        drawn = worked_examples(train, self.config["shots"], self.seed, self.answers.balanced)
        self.shots = [self._shown(Template.values(example)) + self.answers.lead + self.answers.write(example)
                      for example in drawn]
        behind = self.answers.room(self.model, self.config["max_tokens"])
        self.room = int(min(self.model.positions, self.config["max_length"])) - behind
        if self.room < 1:
            raise UnsupportedError(f"the model holds {self.model.positions} tokens, but the answer alone may take "
                                   f"{behind}: take a longer model or lower max_tokens")
        return {"shots": len(drawn), "shot_ids": [example.id for example in drawn],
                "labels": list(self.answers.labels)}

    def predict(self, examples: Sequence[Example]) -> list[Prediction]:
        """Ask once per example."""
        wholes = [self._prompt(Template.values(example), len(self.shots)) for example in examples]
        sizes = self.model.count(wholes)
        prompts = [whole if size <= self.room else self._fitting(Template.values(example))
                   for whole, size, example in zip(wholes, sizes, examples, strict=True)]
        self.counts["prompts"] += len(prompts)
        return self.answers.ask(self.model, prompts, examples, self.config["max_tokens"])

    def notes(self) -> Mapping[str, Any]:
        """Return how many prompts were made, and how many were shortened in which way."""
        return self.counts

    def _shown(self, values: Mapping[str, str]) -> str:
        return self.template.shown(values, self.answers.labels)

    def _prompt(self, values: Mapping[str, str], shots: int) -> str:
        """Return a prompt with the last so many worked examples."""
        parts = [self.template.top(self.answers.labels), *self.shots[len(self.shots) - shots :],
                 self._shown(values) + self.gap]
        return "\n\n".join(part for part in parts if part)

    def _fits(self, values: Mapping[str, str], shots: int) -> bool:
        return self.model.count([self._prompt(values, shots)])[0] <= self.room

    def _fitting(self, values: Mapping[str, str]) -> str:
        """Return the prompt with as many worked examples as fit, or the longest beginning of its text that does."""
        self.counts["prompts_with_fewer_shots"] += bool(self.shots)
        for shots in range(len(self.shots) - 1, -1, -1):
            if self._fits(values, shots):
                return self._prompt(values, shots)
        self.counts["prompts_with_cut_text"] += 1
        name = max(values, key=lambda field: len(values[field]))
        low, high = 0, len(values[name])  # the longest cut that fits lies in low..high; 0 is taken if none does
        while low < high:
            middle = (low + high + 1) // 2
            if self._fits({**values, name: values[name][:middle]}, 0):
                low = middle
            else:
                high = middle - 1
        return self._prompt({**values, name: values[name][:low].rstrip()}, 0)


def worked_examples(train: Sequence[Example], count: int, seed: int, balanced: bool) -> list[Example]:
    """Draw examples without replacement.

    Args:
        train: The cell's training examples.
        count: How many; fewer if there are fewer.
        seed: Seed of the draw.
        balanced: Take one of each class in turn, classes in random order.
    """
    draw = random.Random(seed)
    if not balanced:
        return draw.sample(list(train), min(count, len(train)))
    classes: dict[str, list[Example]] = {}
    for example in draw.sample(list(train), len(train)):
        assert isinstance(example, TextExample)
        classes.setdefault(str(example.label), []).append(example)
    turns = [example for turn in range(len(train)) for members in classes.values() for example in members[turn:][:1]]
    drawn = turns[:count]
    draw.shuffle(drawn)
    return drawn
