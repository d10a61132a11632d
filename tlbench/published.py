"""Whether a run's text differs from that of the published boards, and what the models that ship have read of it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from tlbench.data import task_data
from tlbench.errors import UserError
from tlbench.grid import Cell
from tlbench.task import TaskRef, texts_of

if TYPE_CHECKING:
    from tlbench.registry import Registry
    from tlbench.sources import DataSource

FINGERPRINTS = {
    "apidoc": "a64240b16c81046e90cf3e12f4a5a0ba175710f2457cdd632490a6d914082f7e",
    "interface": "99ba50c88b48ddd43a0d84a629a7a23c3be2a3d3188a971d5062fb00b0e0d4e5",
}
"""Corpus to the SHA-256 of its rows under `constraints.txt`."""


def differences(cells: Iterable[Cell]) -> list[str]:
    """Return a sentence for each embedded corpus whose rows are not those of the published boards."""
    found = {change for cell in cells for change in _changes(cell.condition.task)}
    return [f"the corpus {name!r} differs from the published boards' (other package versions): compare scores inside "
            "this run only, or install under constraints.txt" for name, _ in sorted(found)]


def leaks(cells: Iterable[Cell], registry: Registry, source: DataSource) -> list[str]:
    """Return a sentence for each model that says what it has read and each of its tasks with another corpus.

    A test text counts as read if it shares a sampled 8-gram of words with the model's `signatures.npy`; texts too short
    or without a sample cannot be checked. What cannot be read is said.
    """
    import numpy as np

    from tlbench.corpora.signatures import leak

    pairs = {(one.task.name, one.model.name): one.task for one in (cell.condition for cell in cells)
             if one.model is not None and _changes(one.task)}
    said = []
    for (task, model), ref in sorted(pairs.items(), key=lambda pair: pair[0]):
        folder = registry.models[model].folder() if model in registry.models else None
        if folder is None or not (folder / "signatures.npy").is_file():
            continue
        try:
            known = np.load(folder / "signatures.npy", allow_pickle=False)
            test = task_data(registry.tasks[task], ref, source).test
        except (OSError, ValueError, UserError) as error:  # a note must not hide what comes after it
            said.append(f"what {model!r} has read cannot be compared with {task!r} ({error}): check signatures.npy in "
                        f"{str(folder)!r}")
            continue
        found = leak([" ".join(texts_of(example)) for example in test], known)
        said.append(f"of the test texts of {task!r} {found.checkable:,} can be checked against what {model!r} has "
                    f"read, and {found.shared:,} of them share eight words in a row with it")
    return said


def _changes(task: TaskRef) -> list[tuple[str, str]]:
    """Return the embedded corpora of a task whose rows are not the published ones, with their fingerprints."""
    return [(name, str(value)) for name, value in task.identity.items()
            if name in FINGERPRINTS and value != FINGERPRINTS[name]]
