"""Texts that break careless metrics."""

from __future__ import annotations

import random

import pytest

HARD = [
    "",
    " ",
    "a",
    "the",
    "!!!",
    "\U0001f44d",
    "Hello,  world!",
    "Un\u00a0élève naïf\u202fde l'été",
    "ﬁne oﬃce ﬂow",
    "Straße ÇA œuvre",
    "我喜欢自然语言处理。",
    "自然 语言",
    "かな と カナ",
    "ภาษาไทยดี",
    "हिन्दी में लिखें",
    "e\u0301te\u0301 été",
    "snake_case name_2",
    "1/2 ½ x²",
    "tab\tand\nnewline",
    "The cat sat on the mat.",
]


@pytest.fixture
def hard_texts() -> list[str]:
    """Return accents, ligatures, double and non-breaking spaces, empty texts, scripts without spaces."""
    return list(HARD)


@pytest.fixture
def random_texts() -> tuple[list[str], list[tuple[str, ...]]]:
    """Return 60 predictions and their references, one to three each, that overlap in part."""
    draw = random.Random(3)
    words = [
        *HARD[:4],
        "Hello",
        "cat",
        "sat,",
        "mat.",
        "été",
        "élève\u00a0ﬁne",
        "我",
        "喜欢",
        "x_1",
        "Straße",
    ]
    predictions, references = [], []
    for i in range(60):
        reference = " ".join(draw.choices(words, k=draw.randint(1, 12)))
        kept = [word for word in reference.split(" ") if draw.random() < 0.7]
        predictions.append(" ".join(kept + draw.choices(words, k=draw.randint(0, 3))))
        more = tuple(" ".join(draw.choices(words, k=draw.randint(1, 12))) for _ in range(i % 3))
        references.append((reference or "x", *more))
    return predictions, references
