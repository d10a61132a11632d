from __future__ import annotations

import json
import random

import numpy as np
import pytest
from seqeval.metrics import f1_score
from seqeval.metrics.v1 import precision_recall_fscore_support
from seqeval.scheme import IOB2

from tlbench.iob2 import entities
from tlbench.kinds.tagging import Tagging
from tlbench.task import TokenExample

KIND = Tagging()
METRIC = KIND.metric("")
TAGS = ("B-loc", "B-per", "I-loc", "I-per", "O")


def example(*tags):
    return TokenExample("x", tuple("w" * len(tags)), tags)


def f1_of(gold, given, labels=TAGS, weights=None):
    return METRIC.score(METRIC.statistics([example(*tags) for tags in gold], given, labels), weights)


def seqeval_f1(gold, given):
    return f1_score(
        [list(g) for g in gold], [list(p) for p in given], mode="strict", scheme=IOB2, zero_division=1
    )


def random_tags(seed, count=40, tags=TAGS):
    draw = random.Random(seed)
    lengths = [draw.randint(1, 9) for _ in range(count)]
    return (
        [tuple(draw.choices(tags, k=n)) for n in lengths],
        [tuple(draw.choices(tags, k=n)) for n in lengths],
    )


@pytest.mark.parametrize("seed", range(8))
def test_entity_f1_equals_seqeval_strict_on_any_tags(seed):
    gold, given = random_tags(seed)
    assert f1_of(gold, given)[0] == pytest.approx(seqeval_f1(gold, given), abs=1e-12)


@pytest.mark.parametrize(
    ("gold", "given", "expected"),
    [
        (("B-per", "I-per", "O"), ("B-per", "I-per", "O"), 1),
        (("B-per", "I-per", "O"), ("B-per", "O", "O"), 0),
        (("B-per", "I-per", "O"), ("B-loc", "I-loc", "O"), 0),
        (("B-per", "I-per"), ("I-per", "I-per"), 0),
        (("B-per", "B-per"), ("B-per", "I-per"), 0),
        (("B-per", "O"), ("B-per", "I-loc"), 1),
        (("O", "O"), ("O", "O"), 1),
        (("O", "O"), ("B-per", "O"), 0),
        (("B-per", "O"), ("O", "O"), 0),
    ],
)
def test_entity_f1_by_hand(gold, given, expected):
    assert f1_of([gold], [given])[0] == expected
    assert seqeval_f1([gold], [given]) == expected


def test_weights_score_as_repeated_examples():
    gold, given = random_tags(11, count=20)
    weights = np.random.default_rng(0).multinomial(20, [1 / 20] * 20, size=4)
    expected = [
        seqeval_f1(
            [g for g, k in zip(gold, w, strict=True) for _ in range(k)],
            [p for p, k in zip(given, w, strict=True) for _ in range(k)],
        )
        for w in weights
    ]
    assert f1_of(gold, given, weights=weights.astype(float)) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("given", "counts"),
    [
        (("B-per", "O", "B-loc"), (2, 0, 0)),
        (("B-per", "B-loc", "B-loc"), (2, 0, 0)),  # an entity on the word left out is not counted
        (("B-per", "I-per", "B-loc"), (2, 0, 0)),  # one that reaches it ends before it
        (("B-per", "B-loc", "I-loc"), (1, 0, 1)),  # what follows it has lost its beginning
        (("O", "B-per", "O"), (0, 0, 2)),
        (("B-loc", "I-loc", "I-loc"), (0, 1, 2)),
    ],
)
def test_word_without_gold_tag_is_left_out(given, counts):
    statistics = METRIC.statistics([example("B-per", None, "B-loc")], [given], TAGS)
    assert tuple(statistics.reshape(-1, 3).sum(axis=0)) == counts


def test_columns_name_types_and_unknown_types_are_counted():
    statistics = METRIC.statistics([example("B-per", "O")], [("B-per", "B-zebra")], TAGS)
    named = dict(zip(METRIC.columns(TAGS), statistics[0], strict=True))
    assert named == {
        "loc/tp": 0,
        "loc/fp": 0,
        "loc/fn": 0,
        "per/tp": 1,
        "per/fp": 0,
        "per/fn": 0,
        "(other)/tp": 0,
        "(other)/fp": 1,
        "(other)/fn": 0,
    }
    assert METRIC.score(statistics)[0] == pytest.approx(2 / 3)
    assert METRIC.per_example(statistics) is None


def test_wrong_predictions_are_refused():
    with pytest.raises(ValueError, match="2 words but 1 predicted tags"):
        f1_of([("O", "O")], [("O",)])
    with pytest.raises(ValueError, match="'PER' is no IOB2 tag"):
        f1_of([("O",)], [("PER",)])
    with pytest.raises(ValueError, match="no example"):
        f1_of([], [])


@pytest.mark.parametrize(
    ("words", "tags", "wrong"),
    [
        (("a", "b"), ("B-x", "I-x"), None),
        (("a", "b"), ("O", None), None),
        (("", "b"), ("O", "B-x"), None),
        ((), (), "no words"),
        (("a",), ("O", "O"), "1 words but 2 tags"),
        (("a",), ("I-x",), "continues no entity"),
        (("a", "b"), ("B-y", "I-x"), "continues no entity"),
        (("a", "b", "c"), ("B-x", None, "I-x"), "continues no entity"),
        (("a",), ("B-",), "no IOB2 tag"),
        (("a",), ("x",), "no IOB2 tag"),
        (("a",), (3,), "no IOB2 tag"),
        (("a",), (None,), "none of its words"),
        ((1,), ("O",), "tuple of strings"),
        ("ab", ("O", "O"), "tuple of strings"),
    ],
)
def test_check_looks_at_words_and_tags(words, tags, wrong):
    found = KIND.check(TokenExample("1", words, tags))
    assert (found is None) if wrong is None else (wrong in found)


def test_report_equals_seqeval_by_type_and_is_json():
    gold, given = random_tags(5)
    report = KIND.report([example(*tags) for tags in gold], given, TAGS)
    assert json.loads(json.dumps(report)) == report
    p, r, f, support = precision_recall_fscore_support(
        [list(g) for g in gold], [list(g) for g in given], average=None, scheme=IOB2
    )
    for i, kind in enumerate(("loc", "per")):
        row = report["per_type"][kind]
        assert [row["precision"], row["recall"], row["f1"]] == pytest.approx([p[i], r[i], f[i]])
        assert row["support"] == support[i]
    assert report["micro"]["f1"] == pytest.approx(seqeval_f1(gold, given))
    assert report["type_confusions"][0]["count"] >= report["type_confusions"][-1]["count"] > 0


def test_degenerate_means_no_entity_for_95_percent():
    none, some = ("O", "O"), ("O", "B-x")
    assert KIND.degenerate([none] * 95 + [some] * 5) == "no entity for 95 of 100 predictions"
    assert KIND.degenerate([none] * 94 + [some] * 6) is None
    assert KIND.degenerate([some] * 100) is None


def test_values_survive_json():
    one = TokenExample("1", ("été", "x"), ("B-x", None))
    assert KIND.text(one) == "été x"
    assert KIND.gold(one) == ["B-x", None]
    assert KIND.labels([one]) == ("B-x", "O")
    assert KIND.from_json(json.loads(json.dumps(KIND.to_json(("B-x", "O"))))) == ("B-x", "O")
    assert entities(("B-x", "I-x", "B-x")) == {("x", 0, 2), ("x", 2, 3)}
