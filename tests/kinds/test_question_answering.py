from __future__ import annotations

import json
import re
import string
import unicodedata
from collections import Counter

import numpy as np
import pytest

from tlbench.kinds import kind_named
from tlbench.kinds.question_answering import QuestionAnswering, characters, exact_match, normalised, token_f1
from tlbench.task import QuestionExample, Span

KIND = QuestionAnswering()


def squad_normalize(text):
    """Return a text after the steps of the published script: case, punctuation, articles, white space."""
    text = "".join(c for c in text.lower() if c not in set(string.punctuation))
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def squad_f1(prediction, answer):
    given, gold = squad_normalize(prediction).split(), squad_normalize(answer).split()
    same = sum((Counter(given) & Counter(gold)).values())
    if same == 0:
        return float(not given and not gold)
    precision, recall = same / len(given), same / len(gold)
    return 2 * precision * recall / (precision + recall)


def mlqa_tokens(text):
    """Return the tokens of a Chinese text after the published rules of MLQA: punctuation, case, characters."""
    kept = (c for c in text.lower() if c not in string.punctuation and not unicodedata.category(c).startswith("P"))
    return re.findall(r"[\u4e00-\u9fa5]|[^\s\u4e00-\u9fa5]+", "".join(kept))


def question(*answers):
    return QuestionExample("1", "?", "", tuple(Span(text, 0) for text in answers))


def test_scores_equal_squad_on_hard_texts(hard_texts):
    for prediction in hard_texts:
        for answer in hard_texts:
            assert normalised(prediction) == squad_normalize(prediction)
            assert token_f1(prediction, answer) == pytest.approx(squad_f1(prediction, answer), abs=1e-12)
            assert exact_match(prediction, answer) == (squad_normalize(prediction) == squad_normalize(answer))


@pytest.mark.parametrize(
    ("prediction", "answer", "f1", "em"),
    [
        ("The  Cat!", "cat", 1, 1),
        ("un\u00a0élève", "un élève", 1, 1),
        ("black cat", "the cat", 2 / 3, 0),
        ("", "", 1, 1),
        ("the", "a", 1, 1),
        ("", "cat", 0, 0),
        ("自然语言", "自然语言", 1, 1),
    ],
)
def test_scores_by_hand(prediction, answer, f1, em):
    assert token_f1(prediction, answer) == pytest.approx(f1)
    assert exact_match(prediction, answer) == em


@pytest.mark.parametrize(
    ("prediction", "answer", "f1", "em"),
    [
        ("北京大学", "北京大学", 1, 1),
        ("在北京", "北京", 0.8, 0),
        ("北京。", "《北京》", 1, 1),
        ("2008年8月", "2008 年", 2 / 3, 0),
        ("用NLP 技术", "用 nlp技术", 1, 1),
        ("A股", "a 股", 1, 1),
        ("股", "a股", 2 / 3, 0),
        ("人人", "人", 2 / 3, 0),
        ("東京・タワー", "タワー", 0.75, 0),
        ("上海", "北京", 0, 0),
        ("", "北京", 0, 0),
        ("。", "", 1, 1),
    ],
)
@pytest.mark.parametrize("language", ["zh", "zh-Hant", "ja-JP"])
def test_scores_of_unspaced_languages_by_hand(language, prediction, answer, f1, em):
    kind = kind_named("question-answering", language)
    for name, expected in (("token_f1", f1), ("exact_match", em)):
        found = kind.metric(name).statistics([question("无", answer)], [Span(prediction, 0)], ())
        assert found[:, 0].tolist() == [pytest.approx(expected)]


def test_tokens_of_chinese_equal_those_of_mlqa(hard_texts):
    chinese = ["我爱NLP。", "《2008年》北京 奥运会", "A、B和C", "“引号”—破折号", "3.5% 的增长", "a the 的"]
    for text in (*chinese, *(text for text in hard_texts if not re.search("[\u3040-\u30ff\uac00-\ud7af]", text))):
        assert characters(text).split() == mlqa_tokens(text)


def test_metrics_of_unspaced_languages_have_signatures_of_their_own():
    own, usual = kind_named("question-answering", "zh"), kind_named("question-answering", "en")
    assert [metric.name for metric in own.metrics] == [metric.name for metric in usual.metrics]
    assert not {metric.signature for metric in own.metrics} & {metric.signature for metric in usual.metrics}
    assert [metric.signature for metric in usual.metrics] == [
        "token_f1|norm:squad|answers:max|tlbench:1", "exact_match|norm:squad|answers:max|tlbench:1"]
    report = own.report([question("北京大学")], [Span("用NLP", 0)], ())
    assert report["words"] == {"prediction": 2, "reference": 4}


def test_best_accepted_answer_counts():
    examples = [question("cat", "black cat"), question("dog")]
    predictions = [Span("a black cat", 3), Span("cat", 0)]
    for name, expected in (("token_f1", [1, 0]), ("exact_match", [1, 0])):
        metric = KIND.metric(name)
        statistics = metric.statistics(examples, predictions, ())
        assert metric.per_example(statistics).tolist() == expected
        assert metric.score(statistics)[0] == 0.5
        assert metric.score(statistics, np.array([[2.0, 0], [0, 2], [1, 3]])).tolist() == [1, 0, 0.25]


@pytest.mark.parametrize("metric", KIND.metrics)
def test_empty_input_is_refused(metric):
    with pytest.raises(ValueError, match="no example"):
        metric.statistics([], [], ())


@pytest.mark.parametrize(
    ("answers", "wrong"),
    [
        ((Span("dog", 2),), None),
        ((), "no answer"),
        ((Span(" ", 1),), "answer 0 is empty"),
        ((Span("dog", 2), Span("dog", 3)), "answer 1 does not stand at offset 3"),
        ((Span("g", -1),), "does not stand"),
        ((Span("dogs", 2),), "does not stand"),
    ],
)
def test_check_looks_at_the_answers(answers, wrong):
    found = KIND.check(QuestionExample("1", "", "a dog", answers))
    assert (found is None) if wrong is None else (wrong in found)


def test_check_refuses_texts_that_are_no_strings():
    assert "not a string" in KIND.check(QuestionExample("1", None, "a dog", (Span("dog", 2),)))


def test_degenerate_means_empty_or_identical_answers():
    various = [Span(str(i), 0) for i in range(100)]
    assert KIND.degenerate([Span(" ", 0)] * 95 + various[:5]) == "empty answer for 95 of 100 predictions"
    assert (
        KIND.degenerate([Span("x", i) for i in range(95)] + various[:5])
        == "one answer for 95 of 100 predictions"
    )
    assert KIND.degenerate(various) is None


def test_report_and_values_are_json():
    report = KIND.report([question("cat"), question("dog")], [Span("cat", 0), Span("", 0)], ())
    assert json.loads(json.dumps(report)) == report
    assert report["scores"] == {"token_f1": 0.5, "exact_match": 0.5}
    assert report["empty"] == 0.5
    assert KIND.from_json(json.loads(json.dumps(KIND.to_json(Span("été", 3))))) == Span("été", 3)
    assert KIND.gold(question("cat")) == [{"text": "cat", "start": 0}]
    assert KIND.text(QuestionExample("1", "q", "c", ())) == "q\nc"
