"""The tasks made of the embedded text: sizes, balance, and what each promises about its examples."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from typing import Any

import pytest

from tlbench import DataSource, Splits, Task, corpora, registry
from tlbench.kinds import kind_named

TASKS = ("api-topic", "api-entities", "api-qa", "api-summary", "ui-translation", "api-dialogue", "api-continuation")
APPLICATIONS = ("api-dialogue", "api-continuation")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def tasks() -> dict[str, Task]:
    found = registry.load()
    return {name: found.task(name) for name in TASKS}


@pytest.fixture(scope="module")
def splits(tasks: dict[str, Task]) -> dict[str, Splits]:
    return {name: task.load(DataSource()) for name, task in tasks.items()}


def both(split: Splits) -> list[Any]:
    return [*split.train, *split.test]


@pytest.mark.parametrize("name", TASKS)
def test_embedded_task_has_enough_usable_examples(name: str, tasks: dict[str, Task], splits: dict[str, Splits]) -> None:
    split, kind = splits[name], kind_named(tasks[name].kind)
    assert len(split.train) >= 1000
    assert len(split.test) >= 500
    assert [kind.check(example) for example in both(split) if kind.check(example)] == []
    assert len({example.id for example in both(split)}) == len(both(split))
    assert all(example.group for example in both(split))
    assert kind.metric(tasks[name].metric).name == tasks[name].metric


@pytest.mark.parametrize("name", TASKS)
def test_embedded_task_says_what_it_is_made_of(name: str, tasks: dict[str, Task], splits: dict[str, Splits]) -> None:
    assert tasks[name].unavailable(DataSource()) is None
    assert splits[name].notes["packages"]
    assert list(tasks[name].identity(DataSource()).values()) == [splits[name].notes["fingerprint"]]
    assert tasks[name].suite == ("applications" if name in APPLICATIONS else "embedded")
    assert tasks[name].licence != Task.licence


def test_api_topic_is_balanced_and_hides_its_labels(splits: dict[str, Splits]) -> None:
    counts = Counter(example.label for example in splits["api-topic"].test)
    assert len(counts) == 12
    assert max(counts.values()) <= 2 * min(counts.values())
    words = {part for label in counts for part in str(label).split(".")}
    shown = {word.lower() for example in both(splits["api-topic"]) for word in re.findall(r"\w+", example.text)}
    assert not words & shown


def test_api_entities_labels_every_occurrence_of_a_name(splits: dict[str, Splits]) -> None:
    for example in both(splits["api-entities"]):
        tags: dict[str, set[str | None]] = {}
        for word, tag in zip(example.words, example.tags, strict=True):
            tags.setdefault(word, set()).add(tag)
        assert all(len(found) == 1 for found in tags.values() if found - {None, "O"})
        assert not re.search(r"[`~]|:[a-z]+:`", " ".join(example.words))
    seen = {tag for example in splits["api-entities"].test for tag in example.tags}
    assert seen == {None, "O", *(f"B-{name}" for name in ("class", "function", "attribute", "module", "parameter"))}


def test_api_qa_answers_are_sentences_of_a_context_without_names(splits: dict[str, Splits]) -> None:
    for example in both(splits["api-qa"]):
        answer = example.answers[0]
        assert example.context[answer.start:answer.start + len(answer.text)] == answer.text
        assert example.context.count(answer.text) == 1
        assert len(example.context.split()) <= 160
    test = splits["api-qa"].test
    named = sum(example.id.rsplit("(", 1)[1].rstrip(")") in example.answers[0].text.split() for example in test)
    assert named < 0.3 * len(test)


def test_api_summary_is_not_in_its_source(splits: dict[str, Splits]) -> None:
    for example in both(splits["api-summary"]):
        assert example.targets[0].lower().rstrip(".:") not in example.source.lower()
        assert len(example.source.split()) <= 120


def test_api_dialogue_asks_without_naming_the_function_again(splits: dict[str, Splits]) -> None:
    for example in both(splits["api-dialogue"]):
        answer = example.answers[0]
        assert example.context.count(answer.text) == 1
        first, reply, last = example.question.split("\n")
        name, parameter = example.id.removesuffix(")").rsplit("(", 1)
        assert first == f"A: What does {'.'.join(name.split('.')[-2:])} do?"
        assert last == f"A: And what is its {parameter} for?"
        assert 4 <= len(reply.removeprefix("B: ").split()) <= 16


def test_api_continuation_halves_make_up_the_opening_of_the_prose(splits: dict[str, Splits]) -> None:
    groups = Counter(example.group for example in both(splits["api-continuation"]))
    assert max(groups.values()) <= 3
    for example in both(splits["api-continuation"]):
        first, second = len(example.source.split()), len(example.targets[0].split())
        assert 0 <= second - first <= 1
        assert 32 <= first + second <= 64


def test_ui_translation_differs_from_its_source(splits: dict[str, Splits]) -> None:
    assert all(example.source not in example.targets for example in both(splits["ui-translation"]))


def test_identity_of_a_parsed_corpus_is_fast_and_imports_little() -> None:
    corpora.apidoc.identity(DataSource())
    # Time of the processor, and the least of three: the machine's other work does not count.
    code = ("import sys, time; from tlbench import DataSource, corpora; start = time.process_time(); "
            "corpora.apidoc.identity(DataSource()); print(time.process_time() - start); "
            "assert not {'torch', 'numpy', 'datasets'} & set(sys.modules)")
    runs = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True) for _ in range(3)]
    assert min(float(run.stdout) for run in runs) < 0.5  # 0.03 s on an idle machine
