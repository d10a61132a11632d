"""Word vectors: they learn from text, are the same every time, and are refused where they cannot answer."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping

import numpy as np
import pytest
from tlbench_plugins.learners.vectors import Training, Vectors, WindowTagger, tokens
from tlbench_plugins.word2vec import Word2Vec, Word2VecDomain

from tlbench import Example, LearnerModel, Offer, Reads, Setup, TextExample, TokenExample, UserError
from tlbench.toys import ToyStages

pytest.importorskip("gensim")
SMALL = {"width": 16, "epochs": 30}
ANIMALS, STONES = ("cat", "dog", "fox", "owl"), ("onyx", "opal", "jade", "ruby")


def corpus(count: int = 400) -> list[str]:
    draw = np.random.default_rng(0)
    return [
        f"the {' '.join(draw.choice(ANIMALS, 3))} eats and sleeps" if i % 2
        else f"a {' '.join(draw.choice(STONES, 3))} shines and glitters"
        for i in range(count)
    ]


def learner(strategy: Word2Vec, kind: str) -> LearnerModel:
    offer = Offer(kind, "toy", None, 40, corpora={"embedded": {"apidoc": "abc"}})
    made = strategy.learner(strategy.prepare(Setup(), offer).learner.config, kind, 0)
    made.keep_in(ToyStages())
    return made


def texts(words: Mapping[str, tuple[str, ...]], count: int) -> list[Example]:
    labels = sorted(words)
    return [
        TextExample(f"{i}", f"here is {words[labels[i % 2]][i // 2 % 2]}", labels[i % 2]) for i in range(count)
    ]


def test_vectors_of_words_in_like_contexts_are_alike_and_the_same_every_time() -> None:
    training = Training(width=16, window=5, least=3, epochs=60, seed=1)
    one, two = Vectors.trained(corpus(), training), Vectors.trained(corpus(), training)
    assert one.rows.keys() == two.rows.keys()
    assert all(np.array_equal(one.rows[word], two.rows[word]) for word in one.rows)
    cat, fox, opal = (v / np.linalg.norm(v) for v in one.of(["cat", "fox", "opal"]))
    assert cat @ fox > cat @ opal + 0.1
    assert not one.of(["unseen"]).any()


@pytest.mark.parametrize("texts", [
    corpus(),
    ["\u72d7\u7761 na\u00efve \ud800 \u2028x\x85y\x1cz\x0bw"] * 5,
    ["rare"],
], ids=["usual", "odd", "none"])
def test_vectors_come_back_from_their_arrays_bit_for_bit_and_in_order(texts: list[str]) -> None:
    made = Vectors.trained(texts, Training(width=8, window=5, least=3, epochs=2, seed=1))
    again = Vectors.opened(made.arrays(), 8)
    assert list(again.rows) == list(made.rows)
    assert again.width == made.width == 8
    assert all(np.array_equal(again.rows[word], made.rows[word]) for word in made.rows)
    assert {row.dtype for row in again.rows.values()} <= {np.dtype(np.float64)}
    assert ("rare" in texts) == (not made.rows)


def test_characters_of_scripts_without_spaces_are_words() -> None:
    assert tokens("\u72d7\u7761 now!") == ["\u72d7", "\u7761", "now", "!"]


def test_vectors_of_the_domain_tell_words_apart_that_training_never_showed() -> None:
    train = texts({"animal": ANIMALS[:2], "stone": STONES[:2]}, 20)
    test = texts({"animal": ANIMALS[2:], "stone": STONES[2:]}, 20)
    gold = [e.label for e in test if isinstance(e, TextExample)]

    def accuracy(made: LearnerModel) -> float:
        made.fit(train[:16], train[16:])
        return float(np.mean([a == b for a, b in zip(made.predict(test), gold, strict=True)]))

    domain = learner(Word2VecDomain(**SMALL), "text-classification")
    domain.read(corpus())
    assert accuracy(domain) == 1.0
    assert accuracy(learner(Word2Vec(**SMALL), "text-classification")) < 0.8


def test_pairs_and_numbers_are_learned_from_the_cells_own_text() -> None:
    draw = np.random.default_rng(1)
    data: list[Example] = []
    for i in range(120):
        left = list(draw.choice(ANIMALS if i % 2 else STONES, 3))
        right = left if i % 4 < 2 else list(draw.choice(STONES if i % 2 else ANIMALS, 3))
        data.append(TextExample(f"{i}", " ".join(left), float(i % 4 < 2), text_pair=" ".join(right)))
    made = learner(Word2Vec(width=16), "text-regression")
    info = made.fit(data[:80], data[80:100])
    assert info["features"] == 33
    assert info["vectors"] == 8
    found = np.array(made.predict(data[100:]), dtype=float)
    gold = np.array([float(e.label) for e in data[100:] if isinstance(e, TextExample)])
    assert np.corrcoef(found, gold)[0, 1] > 0.8


def test_tagger_writes_legal_tags_and_leaves_untagged_words_out() -> None:
    tagged: list[Example] = [
        TokenExample(f"{i}", ("see", ANIMALS[i % 4], STONES[i % 3], "now"), (None, "B-pair", "I-pair", "O"))
        for i in range(40)
    ]
    made = learner(Word2Vec(**SMALL), "token-classification")
    made.fit(tagged[:30], tagged[30:])
    assert made.predict(tagged[30:]) == [("O", "B-pair", "I-pair", "O")] * 10 or all(
        tags[1:] == ("B-pair", "I-pair", "O") for tags in made.predict(tagged[30:])
    )
    lonely = made.predict([TokenExample("x", (STONES[0], "now"), (None, None))])
    assert lonely[0][0] in ("B-pair", "O")


def test_short_vectors_tag_as_well_as_long_ones() -> None:
    tagged: list[Example] = [
        TokenExample(f"{i}", ("see", ANIMALS[i % 4], "and", STONES[i % 3]), ("O", "B-animal", "O", "B-stone"))
        for i in range(40)
    ]
    said = []
    for length in (1.0, 1e-3):
        tagger = WindowTagger((0.1, 1.0))
        tagger.vectors = Vectors.trained(corpus(), Training(16, 5, 1, 30, 1))
        tagger.vectors.rows = {word: length * row for word, row in tagger.vectors.rows.items()}
        assert tagger.fit(tagged[:30], tagged[30:])["cost"] in (0.1, 1.0)
        said.append(tagger.predict(tagged[30:]))
    assert said[0] == said[1] == [("O", "B-animal", "O", "B-stone")] * 10


def test_odd_input_falls_back_with_a_reason() -> None:
    empty: list[Example] = [TextExample(f"{i}", "", "ab"[i % 2]) for i in range(10)]
    made = learner(Word2Vec(), "text-classification")
    assert "no feature" in made.fit(empty[:8], empty[8:])["fallback"]
    assert made.predict(empty) == ["a"] * 10
    single = WindowTagger((1.0,))
    single.vectors = Vectors.trained(["a b"], Training(4, 2, 1, 1, 1))
    assert "fallback" in single.fit([TokenExample("1", ("a",), ("O",))], [])
    assert single.predict([TokenExample("1", ("a", "b"), (None, None))]) == [("O", "O")]


@pytest.mark.parametrize("kind", ["question-answering", "text-generation"])
def test_what_a_mean_cannot_answer_is_unsupported(kind: str) -> None:
    assert "word vectors alone" in str(Word2Vec().unsupported(Offer(kind, "toy", None, 40)))


def test_domain_text_is_named_in_the_setup_and_asked_for() -> None:
    identity = {"apidoc": "abc"}
    offer = Offer("text-classification", "toy", None, 40, corpora={"embedded": identity})
    assert Word2VecDomain().prepare(Setup(), offer).learner.reads == Reads("embedded", identity)
    assert Word2Vec().prepare(Setup(), offer).learner.reads is None
    assert "no unlabelled text" in str(Word2VecDomain().unsupported(Offer("text-classification", "toy", None, 40)))


def test_missing_gensim_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'tlbench\[word2vec\]'"):
        learner(Word2Vec(), "text-classification")
