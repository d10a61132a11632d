"""tlbench's metrics for users of Hugging Face `evaluate`: one thin wrapper, nothing is fetched."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tlbench.errors import UserError
from tlbench.kinds import kind_named
from tlbench.task import GenerationExample, QuestionExample, Span, TextExample, TokenExample

_EXAMPLES: dict[str, Callable[[str, Any], Any]] = {
    "text-classification": lambda key, gold: TextExample(key, "", gold),
    "text-regression": lambda key, gold: TextExample(key, "", gold),
    "token-classification": lambda key, gold: TokenExample(key, ("",) * len(gold), tuple(gold)),
    "question-answering": lambda key, gold: QuestionExample(key, "", "", tuple(Span(a, 0) for a in gold)),
    "text-generation": lambda key, gold: GenerationExample(key, "", tuple(gold)),
}


def evaluate_metric(kind: str, metric: str = "", *, cache_dir: str | Path, labels: Sequence[str] = (),
                    language: str = "") -> Any:
    """Return an `evaluate.Metric` that scores as tlbench does; `compute` gives `{name: score}`.

    Importing evaluate takes seconds, so it is imported here and not with this module. Predictions and
    references are class names, numbers, lists of IOB2 tags (`None` leaves a word out), or texts; for question
    answering and generation each reference is a list of accepted texts.

    Args:
        kind: For example `text-generation`.
        metric: A metric of the kind, or empty for its default.
        cache_dir: Folder for what evaluate writes, which else goes under the home folder.
        labels: Classes or tags; empty takes those of the references.
        language: BCP 47 code of the answers or generated texts, which decides how token F1 and BLEU split them.

    Raises:
        UserError: there is no such kind or metric.
    """
    chosen = kind_named(kind, language)
    names = [known.name for known in chosen.metrics]
    if metric and metric not in names:
        raise UserError(f"metric {metric!r} does not exist for {kind}: use one of {', '.join(names)}")
    scorer, make = chosen.metric(metric), _EXAMPLES[kind]
    from_text = (lambda text: Span(text, 0)) if kind == "question-answering" else (lambda value: value)

    import datasets
    import evaluate

    def info(_: Any) -> Any:
        return evaluate.MetricInfo(
            description=f"{scorer.name} of tlbench ({scorer.signature})",
            citation="",
            inputs_description="Predictions and references in task space.",
            features=datasets.Features(_features(kind, datasets)),
        )

    def compute(_: Any, predictions: Sequence[Any], references: Sequence[Any]) -> dict[str, float]:
        examples = [make(str(i), gold) for i, gold in enumerate(references)]
        space = tuple(labels) or chosen.labels(examples)
        statistics = scorer.statistics(examples, [from_text(p) for p in predictions], space)
        return {scorer.name: float(scorer.score(statistics)[0])}

    wrapper = type("TlbenchMetric", (evaluate.Metric,), {"_info": info, "_compute": compute})
    # In memory and under a name of its own, so that no second instance waits for a lock.
    return wrapper(config_name=scorer.name, keep_in_memory=True, cache_dir=str(cache_dir),
                   experiment_id=uuid.uuid4().hex)


def _features(kind: str, datasets: Any) -> dict[str, Any]:
    one = datasets.Value("float64" if kind == "text-regression" else "string")
    many = datasets.Sequence(datasets.Value("string"))
    several = kind in ("token-classification", "question-answering", "text-generation")
    return {
        "predictions": many if kind == "token-classification" else one,
        "references": many if several else one,
    }
