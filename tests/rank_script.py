"""What `test_ranks.py` runs on one and on two ranks: predict with one checkpoint, train another, write down both."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any


def main(toys_file: str, folder: str, out: str) -> None:
    """Predict and train; each rank writes `<out>/rank<number>.json`."""
    import torch

    from tlbench.engine.place import Place

    torch.set_num_threads(1)
    place = Place()
    try:
        found = {"world": place.world, **work(toys_file, folder, place)}
        path = Path(out) / f"rank{place.rank}.json"
        path.write_text(json.dumps(found), encoding="utf-8")
        place.barrier()
    finally:
        place.close()


def work(toys_file: str, folder: str, place: Any) -> dict[str, Any]:
    """Return predictions by id and the curve of a short training."""
    from tlbench.engine.families import Source
    from tlbench.engine.fit import Job, fit
    from tlbench.engine.machine import build
    from tlbench.engine.predict import features, predict
    from tlbench.kinds import kind_named
    from tlbench.model import Model
    from tlbench.registry import import_file
    from tlbench.setups import Phase, Recipe, Setup

    toys, kind = import_file(Path(toys_file)), "token-classification"
    model = Model("tiny", folder)
    seeds = {"init": 1, "head": 2, "adapters": 3, "order": 4, "dropout": 5}
    recipe = Recipe(learning_rate=1e-3, epochs=1e-6, min_steps=12, batch_size=7, length_window=2)
    labels = kind_named(kind).labels(toys.examples("toy-names", 40))
    source = Source(model, model.architecture(offline=True), False, offline=True)
    machine = build(source, Setup(phases=(Phase(recipe=recipe),)), kind, labels, seeds)
    machine.to(place.device)
    with_spread = machine.head.weight.data.mul_(20)
    assert with_spread.std() > 0.1
    found: dict[str, Any] = {}
    for count in (1, 25, 301):
        examples = toys.examples("toy-names", count, "test")
        encoded = machine.form.encode(examples)
        predictions = predict(machine, examples, encoded, "fp32", place)
        found[f"predictions {count}"] = {e.id: p for e, p in zip(examples, predictions, strict=True)}
    made = features(machine, encoded, "fp32", place)
    found["features"] = [made.starts.tolist(), made.flat.tolist()]
    train = machine.form.encode(toys.examples("toy-names", 43))  # the last batch of an epoch holds one row
    held = machine.form.encode(toys.examples("toy-names", 11, "validation"))
    for micro in (7, 2):
        job = Job(train, held, Phase(recipe=recipe), False, seeds, "fp32", micro)
        fitted = fit(machine, replace(job), place)
        place.release()
        found[f"curve {micro}"] = fitted.curve
        found[f"seen {micro}"] = [fitted.steps, fitted.examples_seen, fitted.tokens_seen]
    return found


if __name__ == "__main__":
    main(*sys.argv[1:])
