"""Parameter descriptions as running text."""

from __future__ import annotations

import pytest

from tlbench.corpora import described, spelled_out
from tlbench.corpora.parse import Docstring

TEXT = """Fit it.

Parameters
----------
alpha : float
    Strength of the penalty. Larger is stronger
tol : float
    When to stop.
"""


def test_descriptions_become_one_text_with_the_place_of_each_first_sentence() -> None:
    context, answers = described(Docstring("m.f", "m.f", "function", ("alpha", "tol"), TEXT))
    assert context == "Strength of the penalty. Larger is stronger. When to stop."
    assert {name: answer.text for name, answer in answers.items()} == {
        "alpha": "Strength of the penalty.", "tol": "When to stop."}
    assert all(context.startswith(answer.text, answer.start) for answer in answers.values())


@pytest.mark.parametrize(("name", "answer", "spelled"), [
    ("max_size", "The max size.", True), ("max_size", "The largest size.", False), ("n2", "2 or n", True),
])
def test_a_name_is_spelled_out_if_the_answer_holds_all_its_words(name: str, answer: str, spelled: bool) -> None:
    assert spelled_out(name, answer) is spelled
