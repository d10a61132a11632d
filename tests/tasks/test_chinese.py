"""Chinese data-only tasks: text without spaces is learnt from characters and scored by characters."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sacrebleu.metrics import BLEU
from tlbench_plugins.learners.texts import TextFeatures

from tlbench import GenerationExample, api
from tlbench.boards.evidence import Reader
from tlbench.kinds import kind_named
from tlbench.kinds.text_metrics import UnicodeTokenizer
from tlbench.planning import Request
from tlbench.records import Record, Store
from tlbench.sources import DataSource
from tlbench.workshop import PluginSpec

THINGS = ["这部电影", "这家餐厅的菜", "昨天买的手机", "酒店的房间", "这本小说"]
OPINIONS = {
    "好评": ["非常精彩", "让人满意", "值得推荐", "质量很高"],
    "差评": ["十分无聊", "令人失望", "浪费时间", "问题很多"],
    "中性": ["还算一般", "没有特色", "可以接受", "不好不坏"],
}
TAILS = ["。下次再说。", "。", "。朋友也这么觉得。", ""]


def reviews(folder: Path) -> Path:
    """Write 240 reviews of three classes, none with a space, and the TOML file that describes them."""
    draw = random.Random(5)
    rows = []
    for number in range(240):
        label = list(OPINIONS)[number % 3]
        rows.append(f"{draw.choice(THINGS)}{draw.choice(OPINIONS[label])}{draw.choice(TAILS)}第{number}条,{label}")
    (folder / "reviews.csv").write_text("\n".join(["text,label", *rows, ""]), encoding="utf-8")
    described = folder / "reviews.toml"
    described.write_text('data = "reviews.csv"\nmetric = "macro_f1"\nlanguages = ["zh"]\ndefault_budget = 120\n'
                         'template = "评论 {text}\\n类别"\n', encoding="utf-8")
    return described


def headlines(folder: Path, language: str = "zh") -> Path:
    """Write 60 texts with titles that are their first characters, and the TOML file that describes them."""
    rows = [f"{thing}在{year}年{place}展出。人们很喜欢。,{year}年{place}展出{thing}" for at, thing in enumerate(THINGS)
            for year in range(2001 + at, 2005 + at) for place in ("北京", "上海", "广州")]
    (folder / "news.csv").write_text("\n".join(["source,target", *rows, ""]), encoding="utf-8")
    described = folder / f"news-{language}.toml"
    described.write_text(f'data = "news.csv"\nname = "news"\nmetric = "bleu"\nlanguages = ["{language}"]\n',
                         encoding="utf-8")
    return described


def answers(folder: Path, language: str = "zh") -> Path:
    """Write 60 questions on contexts of their own, answered by the place, and the TOML file that describes them."""
    places = ("北京大学", "上海外滩", "广州塔")
    people = ("王小明", "李强", "张丽", "陈晨")
    rows = [f"{people[at % 4]}在{year}年来到{places[at % 3]}工作。后来{people[(at + 1) % 4]}搬走了。,"
            f"{people[at % 4]}在哪里工作,{places[at % 3]}" for at, year in enumerate(range(1950, 2010))]
    (folder / "where.csv").write_text("\n".join(["context,question,answer", *rows, ""]), encoding="utf-8")
    described = folder / f"where-{language}.toml"
    described.write_text(f'data = "where.csv"\nname = "where"\nlanguages = ["{language}"]\n', encoding="utf-8")
    return described


def records(folder: Path, toml: Path, strategies: tuple[str, ...]) -> dict[str, Record]:
    """Run one replicate of strategies on the one task of a TOML file."""
    request = Request((toml.stem.partition("-")[0],), strategies, replicates=1)
    api.execute(request, api.Options(folder / "run"), DataSource(cache=folder / "cache", offline=True),
                PluginSpec(toml=(toml,)))
    return {record.strategy["name"]: record for record in Store(folder / "run").load()}


def test_features_of_text_without_spaces_are_runs_of_characters() -> None:
    features = TextFeatures(["这部电影非常精彩", "酒店令人失望"])
    _, characters = features.vectorizers
    assert {"非常", "精彩", "令人失望"} <= set(characters.get_feature_names_out())
    unseen = features(["手机非常精彩"])[1]
    assert unseen.nnz > 5, "a new sentence shares characters with what was learnt"


def test_linear_learns_chinese_classes(tmp_path: Path) -> None:
    found = records(tmp_path, reviews(tmp_path), ("floor", "linear"))
    scores = {name: record.evaluation.metrics["macro_f1"]["value"]
              for name, record in found.items() if record.evaluation}
    assert all(record.evaluation and record.evaluation.primary == "macro_f1" for record in found.values())
    assert scores["floor"] < 0.3
    assert scores["linear"] > 0.9
    assert found["linear"].task["languages"] == ["zh"]
    assert "language" not in found["linear"].cell["condition"]["task"], "no metric of classes depends on it"


def test_chinese_texts_are_scored_by_characters(tmp_path: Path) -> None:
    record = records(tmp_path, headlines(tmp_path), ("linear",))["linear"]
    assert record.evaluation is not None
    metrics = record.evaluation.metrics
    assert record.task["signature"] == metrics["bleu"]["signature"]
    assert "tok:zh" in metrics["bleu"]["signature"]
    assert "unspaced scripts by character" in metrics["rouge_l"]["signature"]
    assert 0.2 < metrics["bleu"]["value"] < 1
    assert 0.2 < metrics["rouge_l"]["value"] < 1
    evidence = Reader(Store(tmp_path / "run"))(record)
    assert evidence is not None
    assert evidence.metric.signature == metrics["bleu"]["signature"]


def test_chinese_answers_are_scored_by_characters(tmp_path: Path) -> None:
    found = records(tmp_path, answers(tmp_path), ("floor", "linear"))
    scores = {name: record.evaluation.metrics for name, record in found.items() if record.evaluation}
    assert found["linear"].task["signature"] == scores["linear"]["token_f1"]["signature"]
    assert scores["linear"]["token_f1"]["signature"].startswith("token_f1|norm:mlqa-zh")
    assert scores["floor"]["token_f1"]["value"] < scores["linear"]["token_f1"]["value"]
    assert scores["linear"]["token_f1"]["value"] > 0.9
    assert scores["floor"]["token_f1"]["value"] > scores["floor"]["exact_match"]["value"], "a part of an answer counts"
    evidence = Reader(Store(tmp_path / "run"))(found["linear"])
    assert evidence is not None
    assert evidence.metric.signature == scores["linear"]["token_f1"]["signature"]


@pytest.mark.parametrize("written", [headlines, answers])
def test_language_of_a_task_is_in_the_key_where_it_moves_a_score(
    written: Callable[[Path, str], Path], tmp_path: Path
) -> None:
    keys = {}
    for language in ("en", "zh", "de"):
        found = records(tmp_path / language, written(tmp_path, language), ("floor",))
        keys[language] = found["floor"].key
        assert found["floor"].cell["condition"]["task"].get("language", "") == ("zh" if language == "zh" else "")
    assert keys["en"] == keys["de"] != keys["zh"]


PREDICTIONS = ["北京展出这部电影", "我喜欢自然语言处理。", "用NLP处理 2024 年的文本"]
REFERENCES = [("这部电影在北京展出",), ("我爱自然语言处理。", "我们喜欢自然语言"), ("2024 年用NLP处理文本",)]


@pytest.mark.parametrize(("language", "tokenizer"), [
    ("zh", "zh"), ("zh-Hant", "zh"), ("ZH", "zh"), ("ja", "char"), ("en", "13a"), ("ko", "13a"), ("", "13a"),
])
def test_bleu_is_that_of_sacrebleu_with_the_tokenizer_of_the_language(language: str, tokenizer: str) -> None:
    metric = kind_named("text-generation", language).metric("bleu")
    assert f"|tok:{tokenizer}|" in metric.signature
    examples = [GenerationExample(str(at), "", targets) for at, targets in enumerate(REFERENCES)]
    statistics = metric.statistics(examples, PREDICTIONS, ())
    streams = [[targets[0] for targets in REFERENCES],
               [targets[1] if len(targets) > 1 else None for targets in REFERENCES]]
    expected = BLEU(tokenize=tokenizer).corpus_score(PREDICTIONS, streams)
    assert metric.score(statistics)[0] == pytest.approx(expected.score / 100, abs=1e-12)


def test_rouge_of_chinese_counts_characters() -> None:
    metric = kind_named("text-generation", "zh").metric("rouge_1")
    assert UnicodeTokenizer().tokenize("我爱NLP。") == ["我", "爱", "nlp"]
    example = GenerationExample("1", "", ("我喜欢猫",))
    assert metric.statistics([example], ["我喜欢狗"], ())[0, 0] == pytest.approx(0.75)
    assert np.isclose(metric.statistics([example], ["我喜欢猫"], ())[0, 0], 1.0)


def test_metrics_of_other_languages_are_the_usual_objects() -> None:
    for kind in ("text-classification", "token-classification", "text-regression"):
        assert kind_named(kind, "zh").metrics is kind_named(kind).metrics
    for kind in ("question-answering", "text-generation"):
        assert kind_named(kind, "en").metrics is kind_named(kind, "ko").metrics is kind_named(kind).metrics
