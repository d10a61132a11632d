"""What lies before a cell: trunks that training on another task leaves, computed once and shared."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from tlbench.corpora.duplicates import shadowed
from tlbench.data import CellData, TaskData, cell_data
from tlbench.errors import UserError
from tlbench.grid import Cell, Condition, StrategyRef
from tlbench.kinds import kind_of
from tlbench.setups import Checkpoint
from tlbench.stages.store import Arrays
from tlbench.task import Example, texts_of
from tlbench.words import spaced

State = dict[str, torch.Tensor]
UPSTREAM = StrategyRef("upstream", (), True, "labeled")


def source_cell(cell: Cell, start: Checkpoint) -> Cell:
    """Return the cell that trains the source model of another cell.

    Its streams are those of the source task at the same replicate, or at replicate 0 where it is shared.
    """
    condition = cell.condition
    source = Condition(
        start.task, condition.model, UPSTREAM, start.setup, start.budget, condition.precision, condition.protocol
    )
    return Cell(source, 0 if start.shared else cell.replicate)


def source_data(cell: Cell, data: TaskData, target: CellData) -> tuple[CellData, int]:
    """Draw the source's labels, none of whose texts nearly repeats a test text of the target; also how many went.

    Texts are compared as the embedded split map compares them: word 5-grams, Jaccard similarity of 0.7 or more; short
    texts must have the same words. A Chinese, Japanese or Korean character is a word.

    Raises:
        UserError: the budget asks for more labels than the source has, or none is left.
    """
    drawn = cell_data(cell, data)
    if data is target.task:
        raise UserError(f"source {cell.condition.task.name!r} is the target itself: name another")
    held_out = [text for example in target.test for text in texts_of(example)]
    train, validation = (_without(part, held_out) for part in (drawn.train, drawn.validation))
    left_out = len(drawn.train) + len(drawn.validation) - len(train) - len(validation)
    if not train:
        raise UserError(f"source {cell.condition.task.name!r} has no training label left: the texts of all {left_out} "
                        "nearly repeat test texts of the target; name another")
    return CellData(train, validation, (), data), left_out


def _without(examples: Sequence[Example], texts: Sequence[str]) -> tuple[Example, ...]:
    """Return the examples of which no text nearly repeats one of the others."""
    own = [(place, text) for place, example in enumerate(examples) for text in texts_of(example)]
    known = {place for (place, _), hit in zip(own, _repeated([text for _, text in own], texts), strict=True) if hit}
    return tuple(example for place, example in enumerate(examples) if place not in known)


def _repeated(texts: Sequence[str], of: Sequence[str]) -> list[bool]:
    return shadowed([spaced(text) for text in texts], [spaced(text) for text in of])


def made_from(cell: Cell, data: CellData, numerics: str) -> dict[str, Any]:
    """Return everything that the source model's weights depend on."""
    condition = cell.condition
    return {
        "protocol": condition.protocol,
        "task": condition.task,
        "fingerprints": dict(data.task.fingerprints),
        "subset": data.fingerprint,
        "model": condition.model,
        "setup": condition.setup,
        "budget": condition.budget,
        "replicate": cell.replicate,
        "numerics": numerics,
    }


def stored(train: Callable[[], tuple[nn.Module, float]]) -> dict[str, NDArray[Any]]:
    """Train a source model and return its trunk's weights as arrays, with its seconds and validation score."""
    start = time.perf_counter()
    trunk, score = train()
    arrays = {name: tensor.cpu().numpy() for name, tensor in trunk.state_dict().items()}
    return {**arrays, "#seconds": np.array(time.perf_counter() - start), "#score": np.array(score)}


def opened(arrays: Arrays) -> tuple[State, float, float]:
    """Return the weights, seconds and validation score that `stored` made."""
    state = {name: torch.from_numpy(np.array(array)) for name, array in arrays.items() if not name.startswith("#")}
    return state, float(arrays["#seconds"]), float(arrays["#score"])


def transplant(trunk: nn.Module, state: State) -> None:
    """Put a source model's weights into a trunk, in place; one of the two may be a part of the other.

    An encoder-decoder's encoder fits into the whole model and the other way round, and so does a decoder with or
    without its output matrix.

    Raises:
        UserError: the weights of the two do not correspond.
    """
    own = trunk.state_dict()
    for prefix in _prefixes([*own], [*state]):
        inner = {name[len(prefix) :]: name for name in own if name.startswith(prefix)}
        if set(state) <= set(inner):
            trunk.load_state_dict({inner[name]: tensor for name, tensor in state.items()}, strict=False)
            return
        whole = {prefix + name for name in own}
        if whole <= set(state):
            trunk.load_state_dict({name: state[prefix + name] for name in own})
            return
    raise UserError("the source model's weights do not fit into the target's trunk: use one architecture for both")


def _prefixes(own: Sequence[str], other: Sequence[str]) -> list[str]:
    """Return the module paths by which one set of names may lie inside the other, shallow ones and encoders first.

    All names of BART's encoder are also names of its decoder.
    """
    paths = {name[: i + 1] for name in (*own, *other) for i, char in enumerate(name) if char == "."}
    return ["", *sorted(paths, key=lambda path: (path.count("."), not path.endswith("encoder."), path))]


def validation_score(cell: Cell, data: CellData, predictions: Sequence[Any]) -> float:
    """Return the source's primary metric on its validation examples; 0 without any."""
    if not data.validation:
        return 0.0
    metric = kind_of(cell.condition.task).metric(cell.condition.task.metric)
    return metric.value(data.validation, predictions, data.task.all_labels)
