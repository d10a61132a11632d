"""Each docstring says where a strategy comes from, what it holds equal and adds, what it brings in, what it costs."""

from __future__ import annotations

import inspect
import re

import pytest
import tlbench_plugins

from tlbench import Strategy

WORDS = ("Source", "Held equal", "Adds", "Outside data", "Cost")
STRATEGIES = tlbench_plugins.tlbench_strategies()


@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda cls: cls.name)
def test_docstring_has_the_five_words_once_and_in_order(strategy: type[Strategy]) -> None:
    text = " ".join(inspect.cleandoc(strategy.__dict__["__doc__"]).split())
    said = re.findall(rf"({'|'.join(WORDS)}): \S", text)
    assert tuple(said) == WORDS


@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda cls: cls.name)
def test_docstring_names_a_paper_and_describes_every_option(strategy: type[Strategy]) -> None:
    text = str(strategy.__dict__["__doc__"])
    source = " ".join(text.split()).partition("Source: ")[2].partition(" Held equal: ")[0]
    assert re.search(r"arXiv:\d{4}\.\d{4,5}|[A-Z]\d\d-\d{4}", source), source
    described = re.findall(r"^        (\w+): ", text.partition("Attributes:")[2], re.MULTILINE)
    own = [name for name in inspect.get_annotations(strategy) if name not in ("name", "version")]
    assert described == own


def test_every_strategy_is_looked_at() -> None:
    assert len(STRATEGIES) > 20
