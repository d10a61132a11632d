"""tlbench beside the Hugging Face Trainer: same weights, examples, steps, batch size and test examples."""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
import transformers
from scipy import stats

import tlbench.engine.generation
from tlbench.cells import Shop, bench_for, model_source, run_cell
from tlbench.data import CellData, cell_data
from tlbench.engine.fit import planned_steps
from tlbench.engine.measure import Clock
from tlbench.engine.trained import train
from tlbench.grid import Cell, stream
from tlbench.planning import Request, make_plan
from tlbench.sources import DataSource
from tlbench.workshop import PluginSpec, ShopSpec, open_registry, open_shop

Made = TypeVar("Made")


@dataclass(frozen=True)
class Timed:
    """One side's run: training seconds, real tokens seen in training, test accuracy."""

    seconds: float
    tokens: int
    accuracy: float


def cells(task: str, suite: str, strategy: str, budget: Any, replicates: int, shop: Shop, steps: int = 0,
          model: str = "minilm") -> list[Cell]:
    """Return the cells of one condition, optionally cut to a number of steps."""
    request = Request((task,), (strategy,), (model,), (budget,), replicates, suite)
    found = list(make_plan(request, shop.registry, shop.source).cells)
    if not steps:
        return found
    return [replace(cell, condition=replace(cell.condition, setup=replace(cell.condition.setup, phases=tuple(
        replace(p, recipe=replace(p.recipe, epochs=1e-9, min_steps=steps)) for p in cell.condition.setup.phases))))
        for cell in found]


def ours(cell: Cell, shop: Shop) -> Timed:
    """Run a cell with tlbench."""
    facts = run_cell(cell, shop).facts
    if facts["evaluation"] is None:
        raise SystemExit(f"{cell.title}: {facts['reason']}")
    seconds = facts["cost"]["seconds"]["train"]
    return Timed(seconds, facts["training"]["tokens_seen"], facts["evaluation"].metrics["accuracy"]["value"])


class Texts(torch.utils.data.Dataset[dict[str, Any]]):
    """Tokenized examples as Trainer takes them."""

    def __init__(self, examples: Any, tokenizer: Any, labels: tuple[str, ...], length: int) -> None:
        """Tokenize once, before the clock starts, as tlbench does."""
        encoded = tokenizer([e.text for e in examples], truncation=True, max_length=length)
        self.rows = [{"input_ids": ids, "attention_mask": [1] * len(ids), "labels": labels.index(e.label)}
                     for ids, e in zip(encoded["input_ids"], examples, strict=True)]

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return one example."""
        return self.rows[index]


def theirs(cell: Cell, data: CellData, shop: Shop, frozen: bool = False) -> Timed:
    """Train and predict with Trainer, on the cell's own examples and recipe."""
    source = model_source(cell, shop)
    recipe = cell.condition.setup.phases[0].recipe
    folder = str(source.model.folder())
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    transformers.set_seed(stream(cell, "init") % 2**31)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(
        folder, num_labels=len(data.task.labels), dtype=torch.float32)
    if frozen:
        for parameter in model.base_model.parameters():
            parameter.requires_grad_(False)
    train = Texts(data.train, tokenizer, data.task.labels, recipe.max_length)
    test = Texts(data.test, tokenizer, data.task.labels, recipe.max_length)
    validation = Texts(data.validation, tokenizer, data.task.labels, recipe.max_length)
    steps = planned_steps(recipe, len(train))
    with tempfile.TemporaryDirectory() as out:
        arguments = transformers.TrainingArguments(
            out, max_steps=steps, per_device_train_batch_size=recipe.batch_size, per_device_eval_batch_size=64,
            learning_rate=recipe.head_learning_rate if frozen else recipe.learning_rate,
            weight_decay=recipe.weight_decay, warmup_steps=max(1, round(steps * recipe.warmup)),
            max_grad_norm=recipe.clip, lr_scheduler_type="linear", bf16=shop.precision == "bf16",
            use_cpu=shop.place.device.type == "cpu", train_sampling_strategy="group_by_length", save_strategy="no",
            eval_strategy="steps", eval_steps=max(1, steps // 5), logging_strategy="no", report_to=[],
            disable_tqdm=True, dataloader_num_workers=0, seed=stream(cell, "order") % 2**31)
        trainer = transformers.Trainer(model, arguments, train_dataset=train, eval_dataset=validation,
                                       data_collator=transformers.DataCollatorWithPadding(tokenizer))
        start = time.perf_counter()
        trainer.train()
        seconds = time.perf_counter() - start
        predicted = trainer.predict(test)
    # Grouping by length reorders the test examples as well, so they are scored against the labels that came along.
    correct = np.argmax(predicted.predictions, -1) == predicted.label_ids
    tokens = sum(len(row["input_ids"]) for row in train.rows) * steps * recipe.batch_size / len(train)
    return Timed(seconds, int(tokens), float(np.mean(correct)))


def ratio(a: list[float], b: list[float]) -> dict[str, float]:
    """Return the geometric mean of a/b over pairs with its 95 % t interval."""
    logs = [math.log(x / y) for x, y in zip(a, b, strict=True)]
    centre = statistics.mean(logs)
    half = stats.t.ppf(0.975, len(logs) - 1) * statistics.stdev(logs) / math.sqrt(len(logs)) if len(logs) > 1 else 0.0
    return {"ratio": round(math.exp(centre), 3), "lo": round(math.exp(centre - half), 3),
            "hi": round(math.exp(centre + half), 3), "pairs": len(logs)}


def abba(first: Callable[[], Made], second: Callable[[], Made], repeats: int) -> tuple[list[Made], list[Made]]:
    """Run two sides in the order A B B A A B ..., after one warm-up each."""
    first(), second()
    a: list[Made] = []
    b: list[Made] = []
    for turn in range(repeats):
        for side in (("a", "b") if turn % 2 == 0 else ("b", "a")):
            (a if side == "a" else b).append(first() if side == "a" else second())
    return a, b


def speed(shop: Shop, repeats: int, steps: int) -> dict[str, Any]:
    """Time full fine-tuning and frozen-encoder rows."""
    cell = cells("api-topic", "embedded", "finetune", 300, 1, shop, steps)[0]
    data = cell_data(cell, shop.data(cell.condition.task))
    a, b = abba(lambda: ours(cell, shop), lambda: theirs(cell, data, shop), repeats)
    rates_a, rates_b = [t.tokens / t.seconds for t in a], [t.tokens / t.seconds for t in b]
    out = {"full fine-tuning, real tokens/s": {
        "tlbench": round(statistics.median(rates_a)), "Trainer": round(statistics.median(rates_b)),
        **ratio(rates_a, rates_b), "accuracy": [a[-1].accuracy, b[-1].accuracy], "steps": steps}}
    rows = cells("api-topic", "embedded", "feature-extraction(epochs=1.0)", 300, 3, shop)

    def frozen_ours() -> Timed:
        with tempfile.TemporaryDirectory() as cache:  # a cold stage store: nothing is carried over between turns
            cold = replace(shop, source=replace(shop.source, cache=Path(cache)))
            runs = [ours(row, cold) for row in rows]
        return Timed(sum(r.seconds for r in runs), sum(r.tokens for r in runs), runs[-1].accuracy)

    def frozen_theirs() -> Timed:
        runs = [theirs(row, cell_data(row, shop.data(row.condition.task)), shop, frozen=True) for row in rows]
        return Timed(sum(r.seconds for r in runs), sum(r.tokens for r in runs), runs[-1].accuracy)

    a, b = abba(frozen_ours, frozen_theirs, max(2, repeats // 2))
    out["frozen encoder, 3 replicates, seconds (Trainer / tlbench)"] = {
        "tlbench": round(statistics.median(t.seconds for t in a), 2),
        "Trainer": round(statistics.median(t.seconds for t in b), 2),
        **ratio([t.seconds for t in b], [t.seconds for t in a]), "accuracy": [a[-1].accuracy, b[-1].accuracy]}
    return out


def parity(shop: Shop, replicates: int) -> dict[str, Any]:
    """Train Trainer on SST-2 with the recipe and examples of tlbench's cells."""
    found = cells("sst2", "public", "finetune", "full", replicates, shop)
    scores = []
    for cell in found:
        scores.append(theirs(cell, cell_data(cell, shop.data(cell.condition.task)), shop))
        print(f"replicate {cell.replicate}: {scores[-1]}", file=sys.stderr, flush=True)
    return {"Trainer, sst2 @full": {"accuracy": [round(s.accuracy, 4) for s in scores],
                                    "mean": round(statistics.mean(s.accuracy for s in scores), 4),
                                    "seconds": [round(s.seconds) for s in scores]}}


def generation(shop: Shop, repeats: int) -> dict[str, Any]:
    """Decode the test sources of api-summary with tlbench and with Seq2SeqTrainer, greedily, by one model."""
    cell = cells("api-summary", "embedded", "finetune", 1000, 1, shop, model="tlbench-mini")[0]
    data = cell_data(cell, shop.data(cell.condition.task))
    bench = bench_for(shop, Clock())
    done = train(cell, data, model_source(cell, shop), bench, cell.condition.setup.phases[0].recipe.batch_size)
    form, encoded = done.machine.form, done.encoded["test"]
    rows = [{"input_ids": encoded.tokens.row(i).tolist()} for i in range(len(encoded))]  # no targets: no loss

    def ours() -> tuple[float, list[Any]]:
        start = time.perf_counter()
        texts = done.predict("test", data.test, bench)
        return time.perf_counter() - start, texts

    def whole() -> tuple[float, list[Any]]:
        usual = tlbench.engine.generation.greedy
        tlbench.engine.generation.greedy = None  # type: ignore[assignment]
        try:
            return ours()
        finally:
            tlbench.engine.generation.greedy = usual

    def theirs() -> tuple[float, list[Any]]:
        with tempfile.TemporaryDirectory() as out:
            arguments = transformers.Seq2SeqTrainingArguments(
                out, predict_with_generate=True, per_device_eval_batch_size=64, report_to=[], disable_tqdm=True,
                use_cpu=shop.place.device.type == "cpu", dataloader_num_workers=0)
            trainer = transformers.Seq2SeqTrainer(
                done.machine.trunk, arguments, data_collator=transformers.DataCollatorWithPadding(form.frame.tokenizer))
            start = time.perf_counter()
            made = trainer.predict(rows, max_new_tokens=form.frame.max_target_length, num_beams=1, do_sample=False,
                                   eos_token_id=form.frame.tokenizer.eos_token_id)
            ids = np.where(made.predictions < 0, form.frame.tokenizer.pad_token_id, made.predictions)
            texts = form.decode(data.test, encoded, list(ids))
            return time.perf_counter() - start, texts

    out = {}
    for name, peer in (("Seq2SeqTrainer", theirs), ("tlbench's batches, transformers' loop", whole)):
        a, b = abba(ours, peer, repeats)
        same = statistics.mean(x == y for x, y in zip(a[-1][1], b[-1][1], strict=True))
        out[f"greedy decoding of {len(rows)} sources, seconds ({name} / tlbench)"] = {
            "tlbench": round(statistics.median(s for s, _ in a), 2), name: round(statistics.median(s for s, _ in b), 2),
            **ratio([s for s, _ in b], [s for s, _ in a]), "identical strings": round(same, 4)}
    return out


def main() -> None:
    """Read the arguments and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["speed", "parity", "generation"])
    parser.add_argument("--mirror", type=Path)
    parser.add_argument("--repeats", type=int, default=6)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--replicates", type=int, default=3)
    given = parser.parse_args()
    exact = given.what == "generation"  # in bf16 ties fall as the batches do
    spec = ShopSpec(PluginSpec(), DataSource(mirror=given.mirror), "fp32" if exact else "auto")
    shop = open_shop(spec, open_registry(spec.plugins))
    made = (generation(shop, given.repeats) if exact else
            speed(shop, given.repeats, given.steps) if given.what == "speed" else parity(shop, given.replicates))
    print(json.dumps({"threads": torch.get_num_threads(), "precision": shop.precision, **made}, indent=1))


if __name__ == "__main__":
    main()
