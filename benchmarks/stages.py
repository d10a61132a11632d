"""What cached stages save: features against a frozen trunk in every step, teachers asked once against in every step."""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from trainer import abba, ratio

from tlbench import DataSource, Splits, Task
from tlbench.cells import Shop, bench_for, model_source, run_cell
from tlbench.data import cell_data
from tlbench.engine import trained
from tlbench.engine.distillation import Lesson, teacher_cell
from tlbench.engine.encoding import Encoded, Floats
from tlbench.engine.measure import Clock
from tlbench.engine.predict import raw_rows
from tlbench.engine.trained import Before, Trained
from tlbench.grid import Cell
from tlbench.planning import Request, make_plan
from tlbench.workshop import PluginSpec, ShopSpec, open_registry, open_shop


class TopicSample(Task):
    """The first rows of api-topic by id, so that `full` is small and all replicates share their training examples."""

    name = "topic-sample"
    kind = "text-classification"
    default_budget = "full"

    def load(self, source: DataSource) -> Splits:
        """Return 600 training and 200 test examples."""
        whole = open_registry(PluginSpec()).task("api-topic").load(source)
        return Splits(*(tuple(sorted(part, key=lambda e: e.id)[:: max(1, len(part) // n)][:n])
                        for part, n in ((whole.train, 600), (whole.test, 200))))


@dataclass(frozen=True)
class Run:
    """One side of a comparison: its seconds, and what must be equal on both."""

    seconds: float
    outcome: Any


def cells(model: str, task: str, strategy: str, budget: Any, replicates: int, shop: Shop, **recipe: Any) -> list[Cell]:
    """Return the cells of one condition with some fields of its recipe replaced."""
    request = Request((task,), (strategy,), (model,), (budget,), replicates)
    return [
        replace(cell, condition=replace(cell.condition, setup=replace(cell.condition.setup, phases=tuple(
            replace(p, recipe=replace(p.recipe, **recipe)) for p in cell.condition.setup.phases))))
        for cell in make_plan(request, shop.registry, shop.source).cells
    ]


def frozen(model: str, shop: Shop, repeats: int, epochs: float, task: str = "topic-sample") -> dict[str, Any]:
    """Train the heads of three replicates on cached features, and with the frozen trunk in every step."""
    rows = cells(model, task, "feature-extraction", "full", 3, shop, epochs=epochs, min_steps=1)
    shop.data(rows[0].condition.task)  # read before the clock starts
    usual = trained.frozen_phases

    def side(count: Callable[[Any], int]) -> Run:
        trained.frozen_phases = count
        with tempfile.TemporaryDirectory() as cache:  # a cold stage store: nothing is carried over between turns
            cold = replace(shop, source=replace(shop.source, cache=Path(cache)))
            start = time.perf_counter()
            done = [run_cell(row, cold) for row in rows]
            seconds = time.perf_counter() - start
        trained.frozen_phases = usual
        losses = [point["train_loss"] for one in done for point in one.facts["training"]["curve"]]
        return Run(seconds, (losses, [list(one.predictions["prediction"]) for one in done]))

    a, b = abba(lambda: side(usual), lambda: side(lambda setup: 0), repeats)
    (losses, predictions), (others, again) = a[-1].outcome, b[-1].outcome
    return {
        f"frozen trunk, 3 replicates, {epochs:g} epochs, seconds (without / with the feature stage)": {
            "with": round(statistics.median(r.seconds for r in a), 2),
            "without": round(statistics.median(r.seconds for r in b), 2),
            **ratio([r.seconds for r in b], [r.seconds for r in a]),
            "largest difference of the training loss": max(abs(x - y) for x, y in zip(losses, others, strict=True)),
            "same predictions": predictions == again}
    }


@dataclass(frozen=True)
class Asked(Encoded):
    """Training examples whose teachers are asked anew in every step."""

    ask: Callable[[dict[str, torch.Tensor]], torch.Tensor] = lambda batch: batch["labels"]

    def batch(self, rows: Sequence[int], device: torch.device) -> dict[str, torch.Tensor]:
        """Return the batch with what the teachers say of it."""
        made = super().batch(rows, device)
        return {**made, "soft": self.ask(made)}


class Class:
    """Teachers of one cell, trained already, and the student that learns from them."""

    def __init__(self, cell: Cell, shop: Shop) -> None:
        """Train the teachers on the cell's own labels."""
        teacher = cell.condition.setup.teacher
        assert teacher is not None
        self.cell, self.temperature = cell, teacher.temperature
        self.data = replace(cell_data(cell, shop.data(cell.condition.task)), test=())
        self.bench, self.source = bench_for(shop, Clock()), model_source(cell, shop)
        above = teacher_cell(cell)
        self.teachers = [self._trained(above, Before(member=number)).machine for number in range(teacher.members)]

    def asked_once(self) -> Run:
        """Ask the teachers about every training example, then train the student."""
        start = time.perf_counter()
        said: list[list[Floats]] = []
        for machine in self.teachers:
            rows = raw_rows(machine, machine.form.encode(self.data.train), self.bench.precision, self.bench.place)
            said.append([machine.form.soften(row, self.temperature) for row in rows])
        soft = tuple(self._mean(rows) for rows in zip(*said, strict=True))
        return self._learned(Lesson(soft, None), start)

    def asked_in_every_step(self) -> Run:
        """Train the student and ask the teachers about each of its batches."""
        usual = trained.with_lesson
        trained.with_lesson = lambda form, encoded, given: Asked(**vars(encoded), ask=self._ask)
        try:
            return self._learned(None, time.perf_counter())
        finally:
            trained.with_lesson = usual

    @torch.no_grad()
    def _ask(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        said = [np.stack([machine.form.soften(row, self.temperature) for row in machine.form.raw(machine, batch)])
                for machine in self.teachers]
        return torch.from_numpy(self._mean(said))

    def _mean(self, said: Sequence[Floats]) -> Floats:
        return sum(said[1:], said[0]) / np.float32(len(said))

    def _trained(self, cell: Cell, before: Before) -> Trained:
        micro = cell.condition.setup.phases[0].recipe.batch_size
        return trained.train(cell, self.data, self.source, self.bench, micro, before)

    def _learned(self, lesson: Lesson | None, start: float) -> Run:
        done = self._trained(self.cell, Before(lesson=lesson))
        seconds = time.perf_counter() - start
        losses = [point["train_loss"] for point in done.fitted.curve]
        return Run(seconds, (losses, done.predict("validation", self.data.validation, self.bench)))


def distilled(
    model: str, shop: Shop, repeats: int, members: int, budget: int, task: str = "api-topic", **recipe: Any
) -> dict[str, Any]:
    """Train a student on teachers' outputs that were asked once, and on teachers that are asked in every step."""
    lessons = Class(cells(model, task, f"distill(members={members})", budget, 1, shop, **recipe)[0], shop)
    a, b = abba(lessons.asked_once, lessons.asked_in_every_step, repeats)
    (losses, predictions), (others, again) = a[-1].outcome, b[-1].outcome
    return {
        f"student of {members} teachers, seconds (asked in every step / asked once)": {
            "once": round(statistics.median(r.seconds for r in a), 2),
            "every step": round(statistics.median(r.seconds for r in b), 2),
            **ratio([r.seconds for r in b], [r.seconds for r in a]),
            "largest difference of the training loss": max(abs(x - y) for x, y in zip(losses, others, strict=True)),
            "same validation predictions": predictions == again}
    }


def main() -> None:
    """Read the arguments and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["features", "teachers"])
    parser.add_argument("--model", default="tlbench-mini")
    parser.add_argument("--repeats", type=int, default=4)
    parser.add_argument("--epochs", type=float, default=5.0)
    parser.add_argument("--members", type=int, default=3)
    parser.add_argument("--budget", type=int, default=300)
    given = parser.parse_args()
    spec = ShopSpec(PluginSpec(files=(Path(__file__),)), DataSource(), "fp32")
    shop = open_shop(spec, open_registry(spec.plugins))
    made = (frozen(given.model, shop, given.repeats, given.epochs) if given.what == "features"
            else distilled(given.model, shop, given.repeats, given.members, given.budget))
    print(json.dumps({"threads": torch.get_num_threads(), "precision": shop.precision, "model": given.model, **made},
                     indent=1))


if __name__ == "__main__":
    main()
