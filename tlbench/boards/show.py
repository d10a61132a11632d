"""One cell's page: what ran, how it went, what it scored, class by class, and a few of its predictions."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from tlbench.boards import text
from tlbench.boards.losses import curve
from tlbench.boards.report import class_report
from tlbench.errors import UserError
from tlbench.records import Record, Store

_SAMPLES = 10
_NEAR = 5
_WIDTH = 80
"""Characters of a prediction that are shown."""


def render(store: Store, key_prefix: str) -> str:
    """Return one cell's page as markdown.

    Args:
        store: The results folder.
        key_prefix: First hex digits of the cell's key, enough to single it out.

    Raises:
        UserError: no cell or several cells begin so; names those that come near.
    """
    found = find(store, key_prefix)
    return "\n\n".join(block for record in found for block in _page(store, record) if block) + "\n"


def find(store: Store, key_prefix: str) -> list[Record]:
    """Return all records of the one cell whose key begins with `key_prefix`, finished ones first.

    Raises:
        UserError: no cell or several cells begin so; names those that come near.
    """
    names = store.names()
    keys = sorted({name.partition("-")[0] for name in names})
    if not keys:
        raise UserError(f"results folder {str(store.folder)!r} has no records: run something with --out "
                        "there first")
    wanted = key_prefix.strip().lower()
    matching = [key for key in keys if wanted and key.startswith(wanted)]
    if len(matching) != 1:
        raise UserError(_near(store, wanted, matching or _closest(wanted, keys), bool(matching)))
    records = [store.read(name) for name in names if name.startswith(matching[0])]
    return sorted(records, key=lambda record: record.status == "failed")


def _closest(wanted: str, keys: Sequence[str]) -> list[str]:
    size = max(len(wanted), 1)
    short = {key[:size]: key for key in reversed(keys)}
    return [short[near] for near in difflib.get_close_matches(wanted, short, _NEAR, cutoff=0.0)]


def _near(store: Store, wanted: str, keys: Sequence[str], ambiguous: bool) -> str:
    shown = []
    for key in keys[:_NEAR]:
        name = next(name for name in store.names() if name.startswith(key))
        shown.append(f"{key[:12]} ({_title(store.read(name))})")
    what = (
        f"several cells ({len(keys)}) begin with {wanted!r}"
        if ambiguous
        else f"no cell begins with {wanted!r}"
    )
    return (
        f"{what} in {str(store.folder)!r}: give the first digits of one key, for example {'; '.join(shown)}"
    )


def _title(record: Record) -> str:
    return f"{record.title} | r{record.replicate}"


def _page(store: Store, record: Record) -> list[str]:
    blocks = [f"# {_title(record)}", _status(record), _facts(record)]
    if record.evaluation is not None:
        blocks += ["## Metrics", _metrics(record), *class_report(record.evaluation.report)]
    blocks += _training(record)
    blocks += _setup(record)
    if record.predictions is not None:
        blocks += _samples(store, record)
    return blocks


def _status(record: Record) -> str:
    reason = f": {text.code(record.reason)}" if record.reason else ""
    return f"Status **{record.status}**{reason}. Cell `{record.key}`."


def _facts(record: Record) -> str:
    cost, budget = record.cost, record.budget
    laps = ", ".join(f"{name} {value:.2f} s" for name, value in cost.get("seconds", {}).items()
                     if isinstance(value, int | float))
    memory = (
        f"{cost.get('peak_memory_bytes', 0) / 2**20:,.0f} MiB ({cost.get('peak_memory_method', 'unknown')})"
    )
    facts = {
        "task": f"{record.task['name']}, version {record.task['version']}, {record.task['kind']}",
        "labels": f"{budget['k']} ({budget['train']} training, {budget['validation']} validation)"
        + (f", {budget['wrong_labels']} of them made wrong" if budget.get("label_noise") else ""),
        "model": _model(record),
        "strategy": "; ".join(_part(part) for part in record.strategy["parts"]),
        "time": laps + (" (machine shared)" if cost.get("contended") else ""),
        "peak memory": memory,
        "FLOPs": f"{text.count(cost.get('flops') or 0.0)} ({cost.get('flops_method', 'unknown')})",
        "hardware": str(record.environment.get("hardware", "")),
        "numerics": ", ".join(
            f"{name} {record.numerics[name]}"
            for name in ("dtype", "device", "isa", "world", "threads")
            if name in record.numerics
        ),
    }
    return text.table([{"fact": name, "value": value} for name, value in facts.items() if value])


def _setup(record: Record) -> list[str]:
    setup = json.dumps(record.cell["condition"]["setup"], sort_keys=True, ensure_ascii=False, indent=1)
    command = " ".join(str(record.environment.get("command", "")).split())
    return ["## Setup", f"```json\n{setup}\n```", *([f"```sh\n{command}\n```"] if command else [])]


def _model(record: Record) -> str:
    if record.model is None:
        return "none"
    model = record.model
    return (f"{model['name']} ({model['family']}, {model.get('init', 'unknown')} weights, "
            f"{text.count(model.get('params_trainable'))} of {text.count(model.get('params_total'))} parameters "
            "trained)")


def _part(part: Mapping[str, Any]) -> str:
    config = ", ".join(f"{name}={value}" for name, value in sorted(part["config"].items()))
    return f"{part['name']} version {part['version']}" + (f" ({config})" if config else "")


def _metrics(record: Record) -> str:
    evaluation = record.evaluation
    assert evaluation is not None
    rows = [
        {
            "metric": name + (" (primary)" if name == evaluation.primary else ""),
            "test": text.measure(facts["value"], 4),
            "validation": text.measure(evaluation.validation.get(name), 4),
            "better": "higher" if facts["higher_is_better"] else "lower",
            "signature": text.code(facts["signature"]),
        }
        for name, facts in sorted(
            evaluation.metrics.items(), key=lambda item: (item[0] != evaluation.primary, item)
        )
    ]
    return text.table(rows, right=("test", "validation"))


def _training(record: Record) -> list[str]:
    training = record.training
    if not training:
        return []
    shown = [
        f"{name.replace('_', ' ')} {training[name]}"
        for name in (
            "optimizer",
            "schedule",
            "batch_size",
            "micro_batch",
            "steps",
            "examples_seen",
            "tokens_seen",
            "best_step",
            "stop_reason",
        )
        if name in training
    ]
    shown += [f"{name} {value}" for name, value in sorted(training.get("fit", {}).items())]
    return [
        "## Training",
        text.cell(", ".join(shown)),
        *curve(training.get("curve", []), training.get("best_step")),
    ]


def _samples(store: Store, record: Record) -> list[str]:
    table = store.predictions(record)
    if "prediction" not in table:
        return ["## Sample predictions", "Predictions were not kept with this record, only their statistics."]
    table = table.sort_values("example_id", kind="stable")
    step = max(1, len(table) // _SAMPLES)
    rows = [{"example": str(row["example_id"]), "prediction": _short(str(row["prediction"]))}
            for _, row in table.iloc[::step].head(_SAMPLES).iterrows()]
    return ["## Sample predictions", f"{len(rows)} of {len(table):,}, evenly spaced by id; records hold no "
                                     "source text.",
            text.table(rows)]


def _short(prediction: str) -> str:
    return text.code(prediction if len(prediction) <= _WIDTH else prediction[: _WIDTH - 1] + "…")
