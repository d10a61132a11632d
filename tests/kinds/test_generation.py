from __future__ import annotations

import json

import numpy as np
import pytest
import sacrebleu
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics import BLEU, CHRF

from tlbench.kinds.generation import Generation
from tlbench.kinds.text_metrics import UnicodeTokenizer
from tlbench.task import GenerationExample

KIND = Generation()
CORPUS = {"bleu": BLEU, "chrf": CHRF}
ROUGE = {"rouge_l": "rougeL", "rouge_1": "rouge1", "rouge_2": "rouge2"}


def examples(references):
    return [GenerationExample(str(i), "", tuple(targets)) for i, targets in enumerate(references)]


def statistics(name, predictions, references):
    return KIND.metric(name).statistics(examples(references), predictions, ())


def sacrebleu_score(name, predictions, references):
    width = max(map(len, references))
    streams = [[refs[i] if i < len(refs) else None for refs in references] for i in range(width)]
    return CORPUS[name]().corpus_score(predictions, streams).score / 100


@pytest.mark.parametrize("name", CORPUS)
def test_corpus_score_equals_sacrebleu(name, random_texts):
    predictions, references = random_texts
    score = KIND.metric(name).score(statistics(name, predictions, references))
    assert score[0] == pytest.approx(sacrebleu_score(name, predictions, references), abs=1e-12)
    assert 0.05 < score[0] < 0.95


@pytest.mark.parametrize("name", CORPUS)
def test_corpus_score_equals_sacrebleu_on_each_hard_pair(name, hard_texts):
    metric = KIND.metric(name)
    for reference in hard_texts:
        for prediction in (*hard_texts[:6], reference, f"{reference} {reference}", reference[:4]):
            expected = sacrebleu_score(name, [prediction], [(reference,)])
            found = metric.score(statistics(name, [prediction], [(reference,)]))[0]
            assert found == pytest.approx(expected, abs=1e-12), (prediction, reference)


@pytest.mark.parametrize("name", CORPUS)
def test_weights_score_as_repeated_examples(name, random_texts):
    predictions, references = random_texts
    weights = np.random.default_rng(0).multinomial(60, [1 / 60] * 60, size=5)
    expected = [
        sacrebleu_score(
            name,
            [p for p, k in zip(predictions, w, strict=True) for _ in range(k)],
            [r for r, k in zip(references, w, strict=True) for _ in range(k)],
        )
        for w in weights
    ]
    metric, rows = KIND.metric(name), statistics(name, predictions, references)
    assert metric.score(rows, weights.astype(float)) == pytest.approx(expected, abs=1e-12)
    assert metric.per_example(rows) is None


@pytest.mark.parametrize("name", CORPUS)
def test_smoothing_equals_sacrebleu_when_orders_have_no_match(name):
    predictions, references = ["the cat ran off home", "dog"], [("a cat sat on home",), ("dog",)]
    found = KIND.metric(name).score(statistics(name, predictions, references))[0]
    assert found == pytest.approx(sacrebleu_score(name, predictions, references), abs=1e-12)
    assert found > 0


def test_signatures_are_those_of_sacrebleu():
    for name, kind in CORPUS.items():
        scorer = kind()
        scorer.corpus_score(["a"], [["a"]])
        expected = dict(part.split(":") for part in str(scorer.get_signature()).split("|"))
        found = dict(part.split(":") for part in KIND.metric(name).signature.split("|")[1:])
        assert found.pop("nrefs") == "var"
        expected.pop("nrefs")
        assert found == expected
        assert found["version"] == sacrebleu.__version__


@pytest.mark.parametrize("name", ROUGE)
def test_rouge_equals_rouge_score_on_ascii(name):
    draw = np.random.default_rng(4)
    words = ["the", "Cat", "sat.", "on", "a", "mat,", "x_1", "it's", "-", "running"]
    predictions = [" ".join(draw.choice(words, draw.integers(0, 12))) for _ in range(40)]
    references = [
        tuple(" ".join(draw.choice(words, draw.integers(1, 12))) for _ in range(1 + i % 3)) for i in range(40)
    ]
    scorer = RougeScorer([ROUGE[name]], use_stemmer=False)
    expected = [
        scorer.score_multi(r, p)[ROUGE[name]].fmeasure for p, r in zip(predictions, references, strict=True)
    ]
    metric, rows = KIND.metric(name), statistics(name, predictions, references)
    assert metric.per_example(rows) == pytest.approx(expected, abs=1e-12)
    assert metric.score(rows)[0] == pytest.approx(np.mean(expected))


@pytest.mark.parametrize(
    "text",
    [
        "Un élève naïf",
        "我喜欢自然语言处理",
        "かなとカナ",
        "ภาษาไทยดี",
        "हिन्दी में लिखें",
        "Привет, мир",
        "안녕 하세요",
    ],
)
@pytest.mark.parametrize("name", ROUGE)
def test_rouge_of_any_script_is_one_for_equal_texts(name, text):
    assert statistics(name, [text], [(text,)])[0, 0] == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", []),
        ("!!!  ", []),
        ("Hello,  World_2", ["hello", "world", "2"]),
        ("un\u00a0élève\u202fnaïf", ["un", "élève", "naïf"]),
        ("e\u0301te\u0301", ["été"]),
        ("ﬁne oﬃce", ["fine", "office"]),
        ("我喜欢NLP处理。", ["我", "喜", "欢", "nlp", "处", "理"]),
        ("हिन्दी में", ["हिन्दी", "में"]),
        ("\u0301a", ["a"]),
    ],
)
def test_tokenizer_keeps_every_script(text, tokens):
    assert UnicodeTokenizer().tokenize(text) == tokens


def test_undefined_scores_are_zero():
    for metric in KIND.metrics:
        found = metric.score(metric.statistics(examples([("cat",)]), [""], ()), np.array([[1.0], [0.0]]))
        assert found.tolist() == [0.0, 0.0]


@pytest.mark.parametrize("metric", KIND.metrics)
def test_empty_input_is_refused(metric):
    with pytest.raises(ValueError, match="no example"):
        metric.statistics([], [], ())
    with pytest.raises(ValueError, match="no statistics"):
        metric.score(np.zeros((0, len(metric.columns(())))))


def test_columns_match_the_statistics(random_texts):
    predictions, references = random_texts
    for metric in KIND.metrics:
        rows = metric.statistics(examples(references), predictions, ())
        assert rows.shape == (60, len(metric.columns(())))
        assert rows.dtype == np.float64


@pytest.mark.parametrize(
    ("source", "targets", "wrong"),
    [
        ("", ("x",), None),
        ("s", (), "no target"),
        ("s", "x", "no target"),
        ("s", ("x", " "), "target 1 is empty"),
        (None, ("x",), "source is a NoneType"),
        ("s", (1,), "target 0 is empty or not"),
    ],
)
def test_check_looks_at_source_and_targets(source, targets, wrong):
    found = KIND.check(GenerationExample("1", source, targets))
    assert (found is None) if wrong is None else (wrong in found)


def test_degenerate_means_empty_or_identical_texts():
    various = [str(i) for i in range(100)]
    assert KIND.degenerate([" "] * 95 + various[:5]) == "empty text for 95 of 100 predictions"
    assert KIND.degenerate(["x ", " x"] * 48 + various[:4]) == "one text for 96 of 100 predictions"
    assert KIND.degenerate(various) is None


def test_report_and_values_are_json():
    pairs = [GenerationExample("1", "src", ("été",)), GenerationExample("2", "other", ("b", "c"))]
    report = KIND.report(pairs, ["src", ""], ())
    assert json.loads(json.dumps(report)) == report
    assert (report["empty"], report["copied"], report["distinct"]) == (0.5, 0.5, 1.0)
    assert KIND.from_json(KIND.to_json("été")) == "été"
    assert KIND.gold(pairs[1]) == ["b", "c"]
    assert KIND.text(pairs[0]) == "src"
