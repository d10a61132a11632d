"""Parameter descriptions as running text: contexts in which a description has to be found without its name."""

from __future__ import annotations

import re

from tlbench.corpora.markup import plain, sentences
from tlbench.corpora.parse import Docstring
from tlbench.corpora.sections import sections
from tlbench.task import Span


def described(row: Docstring) -> tuple[str, dict[str, Span]]:
    """Return all parameter descriptions as one text, and the span of each parameter's first sentence in it."""
    context = ""
    answers = {}
    for name, description in sections(row.text).parameters:
        text = plain(description)
        if not text:
            continue
        context += " " if context else ""
        answers[name] = Span(sentences(text)[0], len(context))
        context += text if text[-1] in ".!?:;" else f"{text}."
    return context, answers


def spelled_out(name: str, answer: str) -> bool:
    """Tell whether an answer holds every word of a parameter's name (`max_size`: "The max size")."""
    return set(_words(name)) <= set(_words(answer))


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z]+|\d+", text.lower())
