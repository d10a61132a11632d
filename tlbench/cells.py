"""One cell: a value goes in, a value comes out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from tlbench.attempts import Ended
from tlbench.canonical import digest, plain
from tlbench.data import CellData, TaskData, cell_data, task_data, without_answer
from tlbench.errors import RankLostError, UnsupportedError, UserError, sentence
from tlbench.grid import Cell, Condition, stream
from tlbench.kinds import Kind, kind_of
from tlbench.learned import Learned, Used
from tlbench.model import UNKNOWN, Model
from tlbench.records import SCHEMA, Evaluation, Outcome, as_json
from tlbench.registry import Registry
from tlbench.setups import Learner, ModelRef
from tlbench.sources import DataSource
from tlbench.stages.kept import Kept
from tlbench.stages.store import stage_store
from tlbench.strategy import Prediction
from tlbench.task import Example, TaskRef

if TYPE_CHECKING:
    from tlbench.engine.bench import Bench
    from tlbench.engine.language_model import LanguageModel
    from tlbench.engine.measure import Clock
    from tlbench.engine.place import Place
    from tlbench.engine.precision import Precision


@dataclass
class Shop:
    """What cells run with: plugins, data, device. Nothing here may change a score, or it belongs in the cell.

    Attributes:
        registry: Tasks, strategies and models.
        source: Where data come from.
        place: Device and ranks.
        precision: Resolved precision.
        tier: Name of the tier, printed with the results.
        command: The command line that reproduces the run.
        workers: How many workers share the machine.
        keep_predictions: Keep each prediction in the Parquet file; statistics are always kept.
        progress: Called with the share of the current cell that is done.
    """

    registry: Registry
    source: DataSource
    place: Place
    precision: Precision
    tier: str = "quick"
    command: str = ""
    workers: int = 1
    keep_predictions: bool = True
    progress: Callable[[float], None] = lambda share: None
    _data: dict[str, TaskData | UserError] = field(default_factory=dict)

    def data(self, ref: TaskRef) -> TaskData:
        """Return the data of a task, read once per process."""
        key = digest(ref)
        if key not in self._data:
            try:
                self._data[key] = task_data(self.registry.task(ref.name), ref, self.source)
            except UserError as error:
                self._data[key] = error  # every cell of the task meets the same fault; do not try again for each
        found = self._data[key]
        if isinstance(found, UserError):
            raise found
        return found


def run_cell(cell: Cell, shop: Shop) -> Outcome:
    """Train and evaluate one cell.

    Whatever goes wrong becomes a status of the outcome; a keyboard interrupt gets through.

    Raises:
        RankLostError: among several ranks, this one failed where the others could not notice.
    """
    from tlbench.engine.measure import Clock, PeakMemory

    clock, memory = Clock(), PeakMemory(shop.place)
    data: CellData | None = None
    learned: Learned | None = None
    status, reason = "ok", None
    evaluation: Evaluation | None = None
    table = None
    try:
        with shop.place.together():
            data = shop.place.in_step(lambda: cell_data(cell, shop.data(cell.condition.task)))
            learned = _learn(cell, data, shop, clock)
            evaluation, table, reason = shop.place.in_step(partial(_scored, cell, data, learned, shop))
        status = "collapsed" if reason else "ok"
        clock.lap("score")
    except RankLostError:
        raise
    except UnsupportedError as error:
        status, reason = "unsupported", str(error)
    except Ended:
        raise
    except (Exception, SystemExit) as error:
        status, reason = "failed", sentence(error)
    facts = _facts(cell, shop, data, learned)
    facts["cost"] |= {"seconds": clock.total(), "peak_memory_bytes": memory.read(), "peak_memory_method": memory.method}
    return Outcome({**facts, "status": status, "reason": reason, "evaluation": evaluation, "predictions": None}, table)


def failed(cell: Cell, shop: Shop, reason: str) -> Outcome:
    """Return the outcome of a cell whose process died."""
    facts = _facts(cell, shop, None, None)
    facts["cost"] |= {"seconds": {"total": 0.0}, "peak_memory_bytes": 0, "peak_memory_method": "unknown"}
    return Outcome({**facts, "status": "failed", "reason": reason, "evaluation": None, "predictions": None})


def _learn(cell: Cell, data: CellData, shop: Shop, clock: Clock) -> Learned:
    """Hand the cell to the neural loop or to the learner that its Setup names."""
    setup = cell.condition.setup
    if setup.learner.name == "neural":
        from tlbench.engine.neural import learn

        return learn(cell, data, model_source(cell, shop), bench_for(shop, clock))
    return shop.place.in_step(lambda: _learn_otherwise(cell, data, shop, clock))


def bench_for(shop: Shop, clock: Clock) -> Bench:
    """Return what the neural learner runs on."""
    from tlbench.engine.bench import Bench

    return Bench(
        shop.place,
        shop.precision,
        stage_store(shop.source.cache),
        shop.source,
        clock,
        shop.progress,
        shop.data,
        lambda ref, kind: _source_of(ref, kind, shop),
    )


def model_source(cell: Cell, shop: Shop) -> Any:
    """Return the engine's source of the cell's model; the values of the cell, the place of the registry."""
    assert cell.condition.model is not None
    task = cell.condition.task
    return replace(_source_of(cell.condition.model, task.kind, shop), task_sources=_task_sources(task, shop))


def _source_of(ref: ModelRef, kind: str, shop: Shop) -> Any:
    from tlbench.engine.families import Source
    from tlbench.model import Architecture

    model: Model = shop.registry.models[ref.name]
    architecture = Architecture(ref.family, ref.model_type, dict(ref.identity), pooling=ref.pooling)
    return Source(model, architecture, kind == "text-generation", shop.source.offline)


def _task_sources(ref: TaskRef, shop: Shop) -> tuple[str, ...]:
    """Return the data sets that a task says its text comes from; they are no part of its key."""
    return tuple(shop.registry.task(ref.name).sources)


def _learn_otherwise(cell: Cell, data: CellData, shop: Shop, clock: Clock) -> Learned:
    chosen = cell.condition.setup.learner
    strategy = shop.registry.strategy(chosen.name)()
    learner = strategy.learner(chosen.config, cell.condition.task.kind, stream(cell, "learner") % 2**32)
    model = _text_model(cell, shop)
    if model is not None:
        learner.use(model)
    read = _unlabelled(chosen, shop)
    if read:
        learner.read(read)
    kept = _kept(cell, strategy.version, shop)
    learner.keep_in(kept)
    clock.lap("prepare")
    facts = dict(learner.fit(data.train, data.validation))
    clock.lap("train")
    training: dict[str, Any] = {"unlabeled": len(set(read))} if read else {}
    if made := learner.shared():
        clock.move("train", "upstream", made.spent)
        stage = kept.identity or digest(chosen, 16)
        used = Used(made.title, stage=stage, shared=chosen.shared, seconds=made.seconds, spent=made.spent)
        training["upstream"] = [asdict(used)]
    validation = learner.predict(data.validation) if data.validation else []
    test = learner.predict([without_answer(example) for example in data.test])
    clock.lap("evaluate")
    training |= {"fit": {**facts, **learner.notes()}, "stop_reason": "fitted" if model is None else "not trained"}
    return Learned(validation, test, training, model.sizes() if model else {}, model.flops() if model else 0.0)


def _kept(cell: Cell, version: int, shop: Shop) -> Kept:
    """Return what keeps arrays for the cell's learner; a strategy of another version or file finds none of them."""
    chosen = cell.condition.setup.learner
    owner = {"learner": chosen.name, "version": version,
             "source": shop.registry.origin("strategies", chosen.name).source}
    return Kept(stage_store(shop.source.cache), shop.place, owner, 0 if chosen.shared else cell.replicate)


def _unlabelled(chosen: Learner, shop: Shop) -> tuple[str, ...]:
    """Return the unlabelled text that a learner is given."""
    if chosen.reads is None:
        return ()
    from tlbench.corpora.documents import texts_of_corpus

    return texts_of_corpus(chosen.reads.corpus, shop.source)


def _text_model(cell: Cell, shop: Shop) -> LanguageModel | None:
    """Return the cell's model for a learner that asks it in texts; `None` for what uses no model."""
    if cell.condition.model is None:
        return None
    from tlbench.engine.language_model import LanguageModel

    return LanguageModel(replace(model_source(cell, shop), generates=True), shop.place, shop.precision)


def _scored(cell: Cell, data: CellData, learned: Learned, shop: Shop) -> tuple[Evaluation, Any, str | None]:
    """Return the scores, the table of predictions, and why the cell collapsed, if it did."""
    kind = kind_of(cell.condition.task)
    return *_evaluate(cell, data, learned, kind, shop), _collapse(cell, kind, learned)


def _evaluate(cell: Cell, data: CellData, learned: Learned, kind: Kind, shop: Shop) -> tuple[Evaluation, Any]:
    """Score validation and test predictions; the test split's answers are read here, once."""
    import pandas as pd

    if len(learned.test) != len(data.test):
        raise UserError(
            f"strategy {cell.condition.strategy.name!r} returned {len(learned.test)} predictions for {len(data.test)} "
            "examples: return one per example, in order"
        )
    primary = kind.metric(cell.condition.task.metric)
    labels = data.task.all_labels
    columns: dict[str, Any] = {"example_id": [e.id for e in data.test], "group_id": [e.group for e in data.test]}
    if shop.keep_predictions:
        columns["prediction"] = [as_json(kind.to_json(p)) for p in learned.test]
    scores: dict[str, Any] = {}
    stated = [(metric, learned.likelihoods) for metric in kind.likelihoods if learned.likelihoods]
    for metric, answers in [*((metric, learned.test) for metric in kind.metrics), *stated]:
        statistics = metric.statistics(data.test, answers, labels)
        scores[metric.name] = {
            "value": float(metric.score(statistics)[0]),
            "signature": metric.signature,
            "higher_is_better": metric.higher_is_better,
        }
        columns |= {f"{metric.name}:{name}": statistics[:, i] for i, name in enumerate(metric.columns(labels))}
    validation = _scores(kind, data.validation, learned.validation, labels) if data.validation else {}
    report = dict(kind.report(data.test, learned.test, labels))
    return Evaluation(primary=primary.name, metrics=scores, validation=validation, report=report), pd.DataFrame(columns)


def _scores(
    kind: Kind, examples: Sequence[Example], predictions: Sequence[Prediction], labels: Sequence[str]
) -> dict[str, float]:
    return {metric.name: metric.value(examples, predictions, labels) for metric in kind.metrics}


def _collapse(cell: Cell, kind: Kind, learned: Learned) -> str | None:
    """Return why a model's cell collapsed, or `None`; a floor that predicts one class is no collapse."""
    if cell.condition.model is None:
        return None
    if learned.training["stop_reason"] == "diverged":
        return "the training loss is not finite"
    return kind.degenerate(learned.test)


def _facts(cell: Cell, shop: Shop, data: CellData | None, learned: Learned | None) -> dict[str, Any]:
    """Return the record's fields that do not depend on how the cell went."""
    from tlbench.engine import measure

    condition = cell.condition
    numerics = measure.numerics(shop.place, shop.precision) if condition.model else measure.without_numerics()
    environment = {**measure.environment(), "command": shop.command}
    task = _task_facts(cell, shop, data)
    subset = data.fingerprint if data else ""
    comparability = digest(
        [condition.protocol, task["name"], task["version"], task["fingerprints"], task["signature"], condition.budget,
         *([condition.label_noise] if condition.label_noise else []),
         *(["likelihood"] if condition.task.likelihood else [])],
        24,
    )
    model = _model_facts(cell, shop, learned)
    return {
        "schema_version": SCHEMA,
        "key": cell.key,
        "cell": plain(cell),
        "replicate": cell.replicate,
        "protocol": {"id": condition.protocol, "tier": shop.tier, "overrides": {}},
        "task": task,
        "budget": {
            "k": condition.budget,
            "train": len(data.train) if data else 0,
            "validation": len(data.validation) if data else 0,
            "subset_fingerprint": subset,
            "unlabeled": int(learned.training.get("unlabeled", 0)) if learned else 0,
            **_noise_facts(condition, data),
        },
        "model": model,
        "strategy": {**plain(condition.strategy), "uses_model": condition.model is not None},
        "training": dict(learned.training) if learned else {},
        "cost": {
            "flops": learned.flops if learned else 0.0,
            "flops_method": "2N forward, 4N backward per token",
            "contended": measure.contended(shop.workers),
        },
        "numerics": numerics,
        "environment": environment,
        "contamination": _contamination(_sources_read(cell, shop), task),
        "comparability": comparability,
        "pairing": digest([comparability, subset, numerics["class"]], 24),
        "cost_key": digest([environment["hardware"], numerics["dtype"], shop.place.world], 24),
    }


def _noise_facts(condition: Condition, data: CellData | None) -> dict[str, Any]:
    if not condition.label_noise:
        return {}
    return {"label_noise": condition.label_noise, "wrong_labels": data.wrong_labels if data else 0}


def _task_facts(cell: Cell, shop: Shop, data: CellData | None) -> dict[str, Any]:
    ref = cell.condition.task
    task = shop.registry.task(ref.name)
    known = data.task if data else None
    return {
        "name": ref.name,
        "version": ref.version,
        "kind": ref.kind,
        "metric": ref.metric,
        "licence": task.licence,
        "homepage": task.homepage,
        "languages": list(task.languages),
        "sources": list(_task_sources(ref, shop)),
        "signature": kind_of(ref).metric(ref.metric).signature,
        "train": len(known.train) if known else 0,
        "validation": len(known.validation) if known else 0,
        "test": len(known.test) if known else 0,
        "fingerprints": dict(known.fingerprints) if known else {},
        "labels": list(known.all_labels) if known else [],
        "notes": dict(known.notes) if known else {},
    }


def _model_facts(cell: Cell, shop: Shop, learned: Learned | None) -> dict[str, Any] | None:
    ref = cell.condition.model
    if ref is None:
        return None
    model = shop.registry.models[ref.name]
    facts: dict[str, Any] = {"params_total": 0, "params_trainable": 0, "init": "unknown"}
    return {
        **plain(ref),
        "reference": model.reference,
        "training_sources": list(model.training_sources),
        "note": model.note,
        **facts,
        **(dict(learned.model) if learned else {}),
    }


def _sources_read(cell: Cell, shop: Shop) -> list[tuple[str, ...]]:
    """Return the declared training sources of each model whose weights come in, a teacher's among them."""
    setup, own = cell.condition.setup, cell.condition.model
    taught = setup.teacher is not None and not setup.teacher.setup.at_random
    teacher = (setup.teacher.model or own) if setup.teacher is not None and taught else None
    refs = [None if setup.at_random else own, teacher]
    return [shop.registry.models[ref.name].training_sources for ref in refs if ref is not None]


def _contamination(read: Sequence[tuple[str, ...]], task: Mapping[str, Any]) -> dict[str, Any]:
    """Return whether the models declare to have seen the task's sources: yes, no, or unknown if they leave it open."""
    removed = task["notes"].get("test_duplicates_removed", {})
    if not read:
        return {"declared": "no", "sources": [], "test_duplicates_removed": removed}
    shared = sorted(({source for sources in read for source in sources} - {UNKNOWN}) & set(task["sources"]))
    known = "no" if all(sources and UNKNOWN not in sources for sources in read) else "unknown"
    return {"declared": "yes" if shared else known, "sources": shared, "test_duplicates_removed": removed}
