"""What a task or strategy says of itself: names, versions, budgets and the like, before anything is loaded."""

from __future__ import annotations

import re
from typing import Any

from tlbench.task import KINDS, Task
from tlbench.template import Template

FEWEST = 10
"""Training examples that a task must have, and the smallest budget."""
_NAME = re.compile(r"[a-z0-9]+(?:[-.][a-z0-9]+)*")


def task_fault(task: Task) -> str | None:
    """Return what is wrong with a task's declaration, in one sentence, or `None`."""
    wrong = name_fault(getattr(task, "name", None)) or version_fault(task.version)
    if wrong:
        return wrong
    if getattr(task, "kind", None) not in KINDS:
        return f"kind is {getattr(task, 'kind', None)!r}: use one of {', '.join(KINDS)}"
    for name in ("languages", "sources"):
        value = getattr(task, name)
        if not isinstance(value, tuple) or not all(isinstance(item, str) for item in value):
            return f"{name} is {value!r}: give a tuple of strings"
    if not task.languages:
        return "languages is empty: give BCP 47 codes"
    if task.test_cap is not None and (type(task.test_cap) is not int or task.test_cap < 1):
        return f"test_cap is {task.test_cap!r}: give a positive number or None"
    if task.default_budget != "full" and (type(task.default_budget) is not int or task.default_budget < FEWEST):
        return f"default_budget is {task.default_budget!r}: give {FEWEST} or more, or 'full'"
    if type(task.likelihood) is not bool or (task.likelihood and task.kind != "text-generation"):
        return f"likelihood is {task.likelihood!r}: give True or False, and True for text-generation only"
    return None if task.template is None else Template(task.template).fault(task.kind)


def name_fault(name: Any) -> str | None:
    """Return what is wrong with a name, or `None`."""
    if isinstance(name, str) and _NAME.fullmatch(name):
        return None
    return f"name is {name!r}: use lower-case letters, digits and hyphens"


def version_fault(version: Any) -> str | None:
    """Return what is wrong with a version, or `None`."""
    return None if type(version) is int and version >= 1 else f"version is {version!r}: use 1, 2, 3 ..."
