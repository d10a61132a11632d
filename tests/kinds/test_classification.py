from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn import metrics as sk

from tlbench.kinds.classification import Classification
from tlbench.task import TextExample

KIND = Classification()
LABELS = ("a", "b", "c", "d")
SKLEARN = {
    "macro_f1": lambda gold, given: sk.f1_score(gold, given, average="macro", zero_division=0),
    "macro_precision": lambda gold, given: sk.precision_score(gold, given, average="macro", zero_division=0),
    "macro_recall": lambda gold, given: sk.recall_score(gold, given, average="macro", zero_division=0),
    "accuracy": sk.accuracy_score,
}


def examples(gold):
    return [TextExample(str(i), "", label) for i, label in enumerate(gold)]


def score(name, gold, given, labels=LABELS, weights=None):
    metric = KIND.metric(name)
    return metric.score(metric.statistics(examples(gold), given, labels), weights)


@pytest.mark.parametrize("name", SKLEARN)
@pytest.mark.parametrize("seed", range(5))
def test_score_equals_sklearn(name, seed):
    draw = np.random.default_rng(seed)
    gold, given = draw.choice(LABELS[:3], 40), draw.choice(LABELS[: 2 + seed % 3], 40)
    assert score(name, gold, given)[0] == pytest.approx(SKLEARN[name](gold, given), abs=1e-12)


@pytest.mark.parametrize("name", SKLEARN)
def test_weights_score_as_repeated_examples(name):
    draw = np.random.default_rng(1)
    gold, given = draw.choice(LABELS, 30), draw.choice(LABELS, 30)
    weights = draw.multinomial(30, [1 / 30] * 30, size=4).astype(float)
    expected = [
        SKLEARN[name](np.repeat(gold, w.astype(int)), np.repeat(given, w.astype(int))) for w in weights
    ]
    assert score(name, gold, given, weights=weights) == pytest.approx(expected, abs=1e-12)


def test_accuracy_is_the_default_and_has_a_score_per_example():
    metric = KIND.metric("")
    statistics = metric.statistics(examples("aab"), ["a", "b", "b"], LABELS)
    assert metric.name == "accuracy"
    assert metric.per_example(statistics).tolist() == [1.0, 0.0, 1.0]
    assert KIND.metric("macro_f1").per_example(statistics) is None


def test_prediction_outside_the_labels_is_wrong_but_no_class():
    assert score("macro_f1", ["a", "b"], ["a", "zebra"])[0] == pytest.approx(0.5)
    assert score("accuracy", ["a", "b"], ["a", "zebra"])[0] == 0.5


def test_gold_outside_the_labels_is_refused():
    with pytest.raises(ValueError, match="'z' of the examples is not among the labels"):
        score("macro_f1", ["z"], ["a"])


@pytest.mark.parametrize("name", SKLEARN)
def test_empty_input_is_refused(name):
    metric = KIND.metric(name)
    with pytest.raises(ValueError, match="no example"):
        metric.statistics([], [], LABELS)
    with pytest.raises(ValueError, match="no statistics"):
        metric.score(np.zeros((0, 2)))
    with pytest.raises(ValueError, match="1 predictions for 2 examples"):
        metric.statistics(examples("ab"), ["a"], LABELS)


def test_report_equals_sklearn_and_is_json():
    draw = np.random.default_rng(2)
    gold, given = draw.choice(LABELS[:3], 50), draw.choice(LABELS[:3], 50)
    report = KIND.report(examples(gold), list(given), LABELS)
    assert json.loads(json.dumps(report)) == report
    assert report["confusion"] == sk.confusion_matrix(gold, given, labels=LABELS).tolist()
    p, r, f, support = sk.precision_recall_fscore_support(gold, given, labels=LABELS[:3])
    for i, label in enumerate(LABELS[:3]):
        row = report["per_class"][label]
        assert [row["precision"], row["recall"], row["f1"]] == pytest.approx([p[i], r[i], f[i]])
        assert row["support"] == support[i]
    assert report["macro"]["f1"] == pytest.approx(f.mean())
    assert report["micro"]["f1"] == pytest.approx(sk.accuracy_score(gold, given))


@pytest.mark.parametrize(("label", "wrong"), [("a", None), ("", "empty"), (" ", "empty"), (1.0, "float")])
def test_check_looks_at_the_label(label, wrong):
    found = KIND.check(TextExample("1", "", label))
    assert (found is None) if wrong is None else (wrong in found)


def test_check_refuses_texts_that_are_no_strings():
    assert "text is a float" in KIND.check(TextExample("1", 1.5, "a"))
    assert "second text" in KIND.check(TextExample("1", "x", "a", text_pair=3))


def test_degenerate_means_one_class_for_95_percent():
    assert KIND.degenerate(["a"] * 95 + ["b"] * 5) == "one class for 95 of 100 predictions"
    assert KIND.degenerate(["a"] * 94 + ["b"] * 6) is None
    assert KIND.degenerate(["a"]) is None


def test_values_survive_json():
    example = TextExample("1", "one", "été", text_pair="two")
    assert KIND.text(example) == "one\ntwo"
    assert KIND.gold(example) == KIND.from_json(KIND.to_json("été")) == "été"
    assert KIND.labels([example, TextExample("2", "", "b")]) == ("b", "été")
