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
from trainer import ratio

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


def abba(first: Callable[[], Run], second: Callable[[], Run], repeats: int) -> tuple[list[Run], list[Run]]:
    """Run two sides in the order A B B A A B ..., after one warm-up of the quicker first one."""
    first()
    a: list[Run] = []
    b: list[Run] = []
    for turn in range(repeats):
        for side in (("a", "b") if turn % 2 == 0 else ("b", "a")):
            (a if side == "a" else b).append(first() if side == "a" else second())
    return a, b


def cells(model: str, task: str, strategy: str, budget: Any, replicates: int, shop: Shop, **recipe: Any) -> list[Cell]:
    """Return the cells of one condition with some fields of its recipe replaced."""
    request = Request((task,), (strategy,), (model,), (budget,), replicates)
    return [
        replace(cell, condition=replace(cell.condition, setup=replace(cell.condition.setup, phases=tuple(
            replace(p, recipe=replace(p.recipe, **recipe)) for p in cell.condition.setup.phases))))
        for cell in make_plan(request, shop.registry, shop.source).cells
    ]


def frozen(model: str, shop: Shop, repeats: int, epochs: float) -> dict[str, Any]:
    """Train the heads of three replicates on cached features, and with the frozen trunk in every step."""
    rows = cells(model, "topic-sample", "feature-extraction", "full", 3, shop, epochs=epochs, min_steps=1)
    shop.data(rows[0].condition.task)  # read before the clock starts
    usual = trained.frozen_phases

    def side(count: Callable[[Any], int]) -> Run:
        trained.frozen_phases = count
        with tempfile.TemporaryDirectory() as cache:  # a cold stage store: nothing is carried over between turns
            cold = replace(shop, source=replace(shop.source, cache=Path(cache)))
            start = time.perf_counter()
            facts = [run_cell(row, cold) for row in rows]
            seconds = time.perf_counter() - start
        trained.frozen_phases = usual
        return Run(seconds, [list(one.predictions["prediction"]) for one in facts])

    a, b = abba(lambda: side(usual), lambda: side(lambda setup: 0), repeats)
    return {
        f"frozen trunk, 3 replicates, {epochs:g} epochs, seconds (without / with the feature stage)": {
            "with": round(statistics.median(r.seconds for r in a), 2),
            "without": round(statistics.median(r.seconds for r in b), 2),
            **ratio([r.seconds for r in b], [r.seconds for r in a]), "same predictions": a[-1].outcome == b[-1].outcome}
    }


@dataclass(frozen=True)
class Asked(Encoded):
    """Training examples whose teachers are asked anew in every step."""

    ask: Callable[[dict[str, torch.Tensor]], torch.Tensor] = lambda batch: batch["labels"]

    def batch(self, rows: Sequence[int], device: torch.device) -> dict[str, torch.Tensor]:
        """Return the batch with what the teachers say of it."""
        made = super().batch(rows, device)
        return {**made, "soft": self.ask(made)}


def distilled(model: str, shop: Shop, repeats: int, members: int, budget: int) -> dict[str, Any]:
    """Train a student on teachers' outputs that were asked once, and on teachers that are asked in every step."""
    cell = cells(model, "api-topic", f"distill(members={members})", budget, 1, shop)[0]
    task = cell.condition.task
    data = replace(cell_data(cell, shop.data(task)), test=())
    bench, source = bench_for(shop, Clock()), model_source(cell, shop)
    above = teacher_cell(cell)
    micro = cell.condition.setup.phases[0].recipe.batch_size
    teachers = [trained.train(above, data, source, bench, micro, Before(member=i)) for i in range(members)]
    temperature = cell.condition.setup.teacher.temperature  # type: ignore[union-attr]

    def learn(lesson: Lesson | None) -> Trained:
        return trained.train(cell, data, source, bench, micro, Before(lesson=lesson))

    def outcome(done: Trained) -> Any:
        return [point["train_loss"] for point in done.fitted.curve], done.predict("validation", data.validation, bench)

    def cached() -> Run:
        start = time.perf_counter()
        total: list[Floats] = []
        for teacher in teachers:
            form = teacher.machine.form
            rows = raw_rows(teacher.machine, form.encode(data.train), bench.precision, bench.place)
            soft = [form.soften(row, temperature) for row in rows]
            total = soft if not total else [a + b for a, b in zip(total, soft, strict=True)]
        done = learn(Lesson("", tuple(row / np.float32(members) for row in total), None, 0.0, 0.0))
        return Run(time.perf_counter() - start, outcome(done))

    @torch.no_grad()
    def ask(batch: dict[str, torch.Tensor]) -> torch.Tensor:
        total: Any = 0
        for teacher in teachers:
            rows = teacher.machine.form.raw(teacher.machine, batch)
            total = total + np.stack([teacher.machine.form.soften(row, temperature) for row in rows])
        return torch.from_numpy(total / np.float32(members))

    def online() -> Run:
        usual = trained.with_lesson
        trained.with_lesson = lambda form, encoded, given: Asked(**vars(encoded), ask=ask)
        start = time.perf_counter()
        done = learn(None)
        seconds = time.perf_counter() - start
        trained.with_lesson = usual
        return Run(seconds, outcome(done))

    a, b = abba(cached, online, repeats)
    apart = max(abs(x - y) for x, y in zip(a[-1].outcome[0], b[-1].outcome[0], strict=True))
    return {
        f"student of {members} teachers, seconds (asked in every step / asked once)": {
            "once": round(statistics.median(r.seconds for r in a), 2),
            "every step": round(statistics.median(r.seconds for r in b), 2),
            **ratio([r.seconds for r in b], [r.seconds for r in a]), "largest difference of the training loss": apart,
            "same validation predictions": a[-1].outcome[1] == b[-1].outcome[1]}
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
    spec = ShopSpec(PluginSpec(files=(Path(__file__),)), (given.model,), DataSource(), "fp32")
    shop = open_shop(spec, open_registry(spec.plugins))
    made = (frozen(given.model, shop, given.repeats, given.epochs) if given.what == "features"
            else distilled(given.model, shop, given.repeats, given.members, given.budget))
    print(json.dumps({"threads": torch.get_num_threads(), "precision": shop.precision, "model": given.model, **made},
                     indent=1))


if __name__ == "__main__":
    main()
