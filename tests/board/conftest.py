"""Synthetic results folders with known effects."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tlbench.boards import build
from tlbench.boards.values import Board
from tlbench.canonical import digest
from tlbench.kinds import kind_named
from tlbench.records import SCHEMA, Outcome, Record, Store, as_json
from tlbench.task import TextExample, TokenExample

LABELS = {"text-classification": ("left", "mid", "right"), "text-regression": (),
          "token-classification": ("B-x", "I-x", "O")}
METRIC = {
    "text-classification": "accuracy",
    "text-regression": "pearson",
    "token-classification": "entity_f1",
}
MODELS = {"mini": ("web", "books"), "other": (), "leaky": ("reviews", "web")}


@dataclass(frozen=True)
class Made:
    """A cell to fake: who learned what, how good it truly is, and how it ended."""

    strategy: str
    replicate: int = 0
    quality: float = 0.7
    model: str | None = "mini"
    task: str = "topic"
    kind: str = "text-classification"
    k: int | str = 300
    status: str = "ok"
    reason: str | None = None
    test: int = 500
    numerics: str | None = None
    subset: str = ""
    data: str = "v1"
    ids: str = "t"
    grouped: bool = False
    stop_reason: str = "steps"
    tier: str = "quick"
    hardware: str = "toy-cpu"
    contended: bool = False
    unlabeled: int = 0
    note: str = ""
    validation: float | None = None
    keep_predictions: bool = True
    setup: Mapping[str, Any] = field(default_factory=lambda: {"learner": {"name": "neural"}})
    precision: str = "auto"
    watched: Sequence[float] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def transfers(self) -> bool:
        return self.strategy.split("(")[0] not in ("floor", "linear", "scratch")

    @property
    def classical(self) -> bool:
        return self.model is None

    @property
    def condition(self) -> dict[str, Any]:
        return {
            "task": {"name": self.task, "data": self.data},
            "model": self.model,
            "strategy": self.strategy,
            "budget": self.k,
            "unlabeled": self.unlabeled,
            "setup": {**({"weights": {"type": "Random"}} if "scratch" in self.strategy else {}), **self.setup},
            "precision": self.precision,
        }


def replicates(count: int, strategy: str, quality: float, **given: Any) -> list[Made]:
    """Return the cells of one condition, with a little spread between replicates."""
    if strategy in ("floor", "linear"):
        given.setdefault("model", None)
    return [Made(strategy, r, quality + 0.004 * (r % 3 - 1), **given) for r in range(count)]


def outcome(made: Made) -> Outcome:
    """Return the outcome that `run_cell` would return, its predictions right with probability `quality`."""
    scored = made.status in ("ok", "collapsed")
    evaluation, table = _evaluated(made) if scored else (None, None)
    numerics = made.numerics or ("none" if made.classical else "cpu-fp32")
    subset = digest([made.task, made.k, made.replicate, made.subset], 32) if scored else ""
    labels = 2000 if made.k == "full" else int(made.k)
    signature = kind_named(made.kind).metric(METRIC[made.kind]).signature
    comparability = digest([made.task, made.k, made.data if scored else "", signature], 24)
    return Outcome(
        {
            "schema_version": SCHEMA,
            "key": digest([made.condition, made.replicate], 32),
            "cell": {"type": "Cell", "condition": made.condition, "replicate": made.replicate},
            "status": made.status,
            "reason": made.reason,
            "replicate": made.replicate,
            "protocol": {"id": "tlbench-1", "tier": made.tier, "overrides": {}},
            "task": _task(made, signature),
            "budget": {
                "k": made.k,
                "train": labels - labels // 5,
                "validation": labels // 5,
                "subset_fingerprint": subset,
                "unlabeled": made.unlabeled,
            },
            "model": _model(made),
            "strategy": {
                "name": made.strategy,
                "transfers": made.transfers,
                "external_data": "none",
                "uses_model": not made.classical,
                "parts": [_part(label) for label in made.strategy.split("+")],
            },
            "training": _training(made),
            "evaluation": evaluation,
            "predictions": None,
            "cost": {
                "seconds": {"prepare": 0.5, "train": 12.25 + made.replicate, "evaluate": 1.0, "total": 14.0},
                "flops": 0.0 if made.classical else 3.2e12,
                "flops_method": "2N forward, 4N backward per token",
                "peak_memory_bytes": 700 * 2**20,
                "peak_memory_method": "peak resident set",
                "contended": made.contended,
            },
            "numerics": {
                "class": numerics,
                "dtype": "float32",
                "device": "cpu",
                "isa": "avx512",
                "world": 1,
                "threads": 2,
                "versions": {},
            },
            "environment": {
                "hardware": made.hardware,
                "os": "Linux",
                "python": "3.12",
                "packages": {"torch": "2.13.0", "numpy": "2.4.6"},
                "tlbench": "0.1.0",
                "commit": "abc123",
                "dirty": False,
                "command": "tlbench run --tasks all",
            },
            "contamination": {
                "declared": "unknown" if made.model == "other" else "no",
                "sources": [],
                "test_duplicates_removed": {"train": 2},
            },
            "comparability": comparability,
            "pairing": digest([comparability, subset, numerics], 24),
            "cost_key": digest([made.hardware], 24),
            **made.extra,
        },
        table,
    )


def _part(label: str) -> dict[str, Any]:
    name, _, settings = label.rstrip(")").partition("(")
    config = dict(setting.split("=") for setting in settings.split(",") if setting)
    return {"name": name, "version": 1, "config": {"rank": 8, **config}}


def _task(made: Made, signature: str) -> dict[str, Any]:
    prints = {"train": digest(["train", made.data]), "test": digest(["test", made.data])}
    return {
        "name": made.task,
        "version": 1,
        "kind": made.kind,
        "metric": METRIC[made.kind],
        "signature": signature,
        "licence": "BSD-3-Clause",
        "homepage": "https://example.org/topic",
        "languages": ["en"],
        "sources": ["reviews"],
        "train": 2000,
        "validation": 0,
        "test": made.test,
        "fingerprints": prints,
        "labels": list(LABELS[made.kind]),
        "notes": {"test_duplicates_removed": {"train": 2}},
    }


def _model(made: Made) -> dict[str, Any] | None:
    if made.model is None:
        return None
    return {"name": made.model, "reference": f"toy/{made.model}", "family": "encoder", "model_type": "bert",
            "identity": {"sha256": digest(made.model)}, "params_total": 22_713_216,
            "params_trainable": 4_620 if made.strategy == "feature-extraction" else 22_713_216,
            "init": "random" if made.strategy.startswith("scratch") else "pretrained",
            "training_sources": list(MODELS[made.model]), "note": made.note, "pooling": "mean"}


def _training(made: Made) -> dict[str, Any]:
    if made.classical:
        return {"fit": {"features": 1200}, "stop_reason": "fitted"}
    curve = [{"step": s, "train_loss": 1 / s, "validation_loss": 1 / s + s / 400} for s in range(10, 210, 10)]
    for point, seen in zip(curve, made.watched, strict=False):
        point["validation_score"] = seen
    return {"optimizer": "adamw", "schedule": "linear", "batch_size": 16, "micro_batch": 16, "steps": 200,
            "examples_seen": 3200, "tokens_seen": 204_800, "best_step": 200, "stop_reason": made.stop_reason,
            "curve": curve, "seconds": 12.25}


def _evaluated(made: Made) -> tuple[dict[str, Any], pd.DataFrame]:
    examples, predictions = _predicted(made, f"test {made.ids}", made.test)
    kind, labels = kind_named(made.kind), LABELS[made.kind]
    metrics: dict[str, Any] = {}
    columns: dict[str, Any] = {
        "example_id": [e.id for e in examples],
        "group_id": [e.group for e in examples],
    }
    if made.keep_predictions:
        columns["prediction"] = [as_json(kind.to_json(p)) for p in predictions]
    for metric in kind.metrics:
        statistics = metric.statistics(examples, predictions, labels)
        metrics[metric.name] = {"value": float(metric.score(statistics)[0]), "signature": metric.signature,
                                "higher_is_better": metric.higher_is_better}
        columns |= {f"{metric.name}:{n}": statistics[:, i] for i, n in enumerate(metric.columns(labels))}
    held = made.quality if made.validation is None else made.validation
    report = dict(kind.report(examples, predictions, labels))
    return ({"primary": METRIC[made.kind], "metrics": metrics, "report": report,
             "validation": dict.fromkeys(metrics, held)}, pd.DataFrame(columns))


def _predicted(made: Made, split: str, size: int) -> tuple[Sequence[Any], Sequence[Any]]:
    """Predict an example right if its difficulty (shared by all cells) and the cell's own noise allow it."""
    shared = np.random.default_rng(int(digest([made.task, split, made.data], 12), 16))
    own = np.random.default_rng(int(digest([made.condition, made.replicate, made.hardware], 12), 16))
    difficulty, gold = shared.random(size), shared.integers(3, size=size)
    right = 0.8 * difficulty + 0.2 * own.random(size) < made.quality
    groups = [f"g{i // 4}" if made.grouped else None for i in range(size)]
    ids = [f"{made.ids}{i:04d}" for i in range(size)]
    if made.kind == "text-regression":
        values = gold + np.where(right, 0.1, 2.0) * own.normal(size=size)
        return (
            [
                TextExample(i, "", float(g), group=group)
                for i, g, group in zip(ids, gold, groups, strict=True)
            ],
            [float(v) for v in values],
        )
    if made.kind == "token-classification":
        tagged = [
            TokenExample(i, ("a", "b"), ("B-x", "O"), group) for i, group in zip(ids, groups, strict=True)
        ]
        return tagged, [("B-x", "O") if ok else ("O", "O") for ok in right]
    names = LABELS[made.kind]
    return (
        [TextExample(i, "", names[g], group=group) for i, g, group in zip(ids, gold, groups, strict=True)],
        [names[g] if ok else names[(g + 1) % 3] for g, ok in zip(gold, right, strict=True)],
    )


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Store]:
    """Return a function that writes cells into a fresh results folder and returns its store."""
    made = iter(range(100))

    def write_all(*groups: Made | Sequence[Made]) -> Store:
        store = Store(tmp_path / f"results{next(made)}")
        for group in groups:
            for cell in [group] if isinstance(group, Made) else group:
                record: Record = store.write(outcome(cell))
                assert record.key
        return store

    return write_all


def standard() -> list[Made]:
    """Return a small grid with every state: a clear gain, a null, a loss, a classical winner, failures."""
    cells: list[Made] = []
    for task, kind in (("topic", "text-classification"), ("names", "token-classification"),
                       ("closeness", "text-regression")):
        given: dict[str, Any] = {"task": task, "kind": kind}
        linear = 0.9 if task == "names" else 0.62
        cells += replicates(3, "floor", 0.3, **given) + replicates(3, "linear", linear, **given)
        cells += replicates(3, "scratch", 0.55, stop_reason="cap" if task == "topic" else "plateau", **given)
        cells += replicates(3, "finetune", 0.8, **given) + replicates(3, "feature-extraction", 0.625, **given)
        cells += replicates(3, "lora(rank=8)", 0.45, **given)
    return [*cells, *_troubled()]


def _troubled() -> list[Made]:
    leaky: dict[str, Any] = {"model": "leaky", "note": "v0: a first, weak model"}
    lost = "OutOfMemoryError: 12 GiB | asked for (fit.py:88)"
    return [
        Made("finetune", 0, 0.7, **leaky), Made("finetune", 1, 0.7, **leaky),
        Made("finetune", 2, status="failed", reason=lost, **leaky),
        Made("lora", 0, 0.3, status="collapsed", reason="one class for 480 of 500 predictions", **leaky),
        *(Made("lora", r, 0.7, **leaky) for r in (1, 2)),
        *(Made("prompt", r, status="unsupported", reason="prompt needs a "
                                                         "decoder", model="other") for r in range(3)),
    ]


@pytest.fixture(scope="session")
def toy() -> SimpleNamespace:
    """Return the builders of this file (test modules are imported by path, so they cannot import it)."""
    return SimpleNamespace(Made=Made, replicates=replicates, standard=standard, outcome=outcome)


@pytest.fixture(scope="session")
def grid(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Return a results folder with the standard grid; tests only read it."""
    store = Store(tmp_path_factory.mktemp("grid"))
    for made in standard():
        store.write(outcome(made))
    return store


@pytest.fixture(scope="session")
def board(grid: Store) -> Board:
    """Return the board of the standard grid."""
    return build(grid)
