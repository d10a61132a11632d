"""Templates: what they show of an example, and which are refused."""

from __future__ import annotations

import pytest

from tlbench import QuestionExample, Span, Template, TextExample, TokenExample, registry
from tlbench.kinds import KINDS
from tlbench.toys import TEMPLATES


@pytest.mark.parametrize(("text", "kind", "fault"), [
    ("Review: {text}\nLabel:", "text-classification", None),
    ("{text} {text_pair} {labels}", "text-classification", None),
    ("{context} {question}", "question-answering", None),
    ("Review: {txt}", "text-classification", "names {txt}"),
    ("{label} {text}", "text-classification", "names {label}"),
    ("{source}", "text-classification", "names {source}"),
    ("One of {labels}:", "text-classification", "shows nothing of the example"),
    ("Review: {text}\n", "text-classification", "ends in white space"),
])
def test_faulty_templates_are_named(text: str, kind: str, fault: str | None) -> None:
    found = Template(text).fault(kind)
    assert (found is None) if fault is None else (fault in str(found))


def test_first_paragraph_without_the_example_stands_once() -> None:
    template = Template("One of {labels}.\n\n{text}\nLabel:")
    assert template.top(["a", "b"]) == "One of a, b."
    assert template.shown({"text": "x"}, ["a"]) == "x\nLabel:"
    whole = Template("{text}\n\nLabel:")
    assert whole.top(["a"]) == ""
    assert whole.shown({"text": "x"}, []) == "x\n\nLabel:"


def test_values_hold_no_answer_and_keep_their_braces() -> None:
    values = Template.values(TextExample("1", "a {text} {labels}", "secret"))
    assert Template("<{text}{text_pair}>").shown(values, ["x"]) == "<a {text} {labels}>"
    question = QuestionExample("1", "Q?", "in Rome", (Span("Rome", 3),))
    assert Template.values(question) == {"question": "Q?", "context": "in Rome"}
    assert Template.values(TokenExample("1", ("a", "b"), ("O", "O"))) == {"words": "a b"}


def test_every_kind_has_a_toy_template() -> None:
    assert set(TEMPLATES) == set(KINDS)
    assert not [kind for kind, text in TEMPLATES.items() if Template(text).fault(kind)]


def test_builtin_tasks_have_templates_without_fault() -> None:
    for task in registry.load(strict=True).tasks.values():
        assert task.template, task.name
        assert Template(task.template).fault(task.kind) is None
