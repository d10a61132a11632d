from __future__ import annotations

import socket

import pytest

from tlbench import evaluate_metric
from tlbench.errors import UserError

CASES = [
    ("text-classification", "", ["a", "b"], ["a", "a"], {"accuracy": 0.5}),
    ("text-regression", "mae", [1.0, 2.0], [1.0, 4.0], {"mae": 1.0}),
    (
        "token-classification",
        "",
        [["B-x", "O"], ["B-x", "O"]],
        [["B-x", "O"], ["O", None]],
        {"entity_f1": 2 / 3},
    ),
    ("question-answering", "exact_match", ["the cat", "x"], [["dog", "cat"], ["y"]], {"exact_match": 0.5}),
    ("text-generation", "rouge_1", ["été", "x"], [["été"], ["y", "z"]], {"rouge_1": 0.5}),
]


@pytest.fixture
def no_network(monkeypatch):
    """Fail on any connection."""

    def refuse(*args, **kwargs):
        raise AssertionError("a metric opened a socket")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "metric", "predictions", "references", "expected"), CASES)
def test_wrapper_scores_as_tlbench_without_network(
    kind, metric, predictions, references, expected, tmp_path, no_network
):
    first = evaluate_metric(kind, metric, cache_dir=tmp_path)
    second = evaluate_metric(kind, metric, cache_dir=tmp_path)
    first.add_batch(predictions=predictions, references=references)
    assert second.compute(predictions=predictions, references=references) == pytest.approx(expected)
    assert first.compute() == pytest.approx(expected)


@pytest.mark.slow
def test_wrapper_splits_answers_as_their_language_does(tmp_path):
    for language, expected in (("zh", 0.8), ("en", 0.0), ("", 0.0)):
        metric = evaluate_metric("question-answering", cache_dir=tmp_path, language=language)
        assert metric.compute(predictions=["在北京"], references=[["北京"]]) == {"token_f1": pytest.approx(expected)}


def test_unknown_metric_lists_the_known_ones(tmp_path):
    with pytest.raises(UserError, match="'bleu' does not exist for text-regression: use one of pearson"):
        evaluate_metric("text-regression", "bleu", cache_dir=tmp_path)
