"""The pre-training objective beside a task: text on the very trunk that the task trains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tlbench.corpora.documents import documents_of
from tlbench.engine.dropout import replace_dropout
from tlbench.engine.encoding import Encoded, Ragged
from tlbench.engine.families import Source, load_language_model, load_tokenizer, max_positions
from tlbench.engine.forms import IGNORED
from tlbench.engine.precision import Precision
from tlbench.engine.pretraining.objectives import Batch, Student, objective_for
from tlbench.engine.pretraining.packing import Stream, tokenize
from tlbench.engine.pretraining.vocabulary import symbols_of
from tlbench.setups import Pretraining


class Reader(Student):
    """A model around another machine's trunk, with its objective: what a text stream trains."""

    def forward(self, batch: Batch) -> Tensor:
        """Return the summed cross-entropy of the targets in nats, a float32 scalar."""
        return super().forward(batch).sum()


@dataclass(frozen=True)
class Text:
    """Unlabelled text as a stream of a training.

    Attributes:
        reader: The model that reads it.
        rows: Packed rows, each masked once.
        rest: Weights of the reader outside the trunk.
        texts: Distinct texts among which the rows were packed.
    """

    reader: Reader
    rows: Encoded
    rest: tuple[nn.Parameter, ...]
    texts: int


def reading_beside(
    trunk: nn.Module, source: Source, random: bool, texts: Sequence[str], recipe: Pretraining, precision: Precision
) -> Text:
    """Return text as a stream on a trunk.

    Args:
        trunk: What the target trains: the whole model, or the part of it that the target uses; with adapters or not.
        source: The model; what the trunk lacks of it is loaded.
        random: Random weights for what the trunk lacks, too.
        texts: Documents; they are read as a set.
        recipe: Objective, row length and masking; `tokens` bounds the rows, `seed` orders and masks them.
        precision: Numeric precision.

    Raises:
        UserError: the objective is not one for the model's family, the tokenizer lacks its marks, or there are fewer
            than two texts.
    """
    adapted: Any = trunk
    base: Any = adapted.get_base_model() if hasattr(trunk, "get_base_model") else trunk
    tokenizer = load_tokenizer(source)
    recipe = replace(recipe, length=max_positions(base, tokenizer, recipe.length))
    whole = base if base.get_output_embeddings() is not None else _around(base, source, random, recipe.seed)
    symbols = symbols_of(tokenizer, getattr(whole.config, "decoder_start_token_id", None))
    reader = Reader(whole, objective_for(recipe, source.architecture.family, symbols), precision)
    documents = documents_of(texts)
    stream = Stream(tokenize(documents, tokenizer), recipe)
    count = max(1, min(recipe.tokens, stream.size) // recipe.length)
    packed = np.stack([stream.row(number) for number in range(count)])
    batch = reader.objective.batch(packed, np.random.default_rng([recipe.seed, 5]))
    inside = {id(p) for p in trunk.parameters()}
    rest = tuple(p for p in whole.parameters() if id(p) not in inside)
    return Text(reader, _encoded(batch), rest, len(documents.texts))


def targets(encoded: Encoded, rows: Sequence[int]) -> float:
    """Return the number of targets in some rows, by which their summed loss is divided."""
    return float(max(1, sum(int((encoded.ragged["targets"].row(row) != IGNORED).sum()) for row in rows)))


def _around(base: nn.Module, source: Source, random: bool, seed: int) -> Any:
    """Return the whole model with a part of it replaced by the part that is trained elsewhere."""
    whole: Any = load_language_model(replace(source, generates=False), random, seed)
    if source.architecture.family == "encoder-decoder":
        _put(whole, whole.get_encoder(), base)
        whole.set_input_embeddings(base.get_input_embeddings())  # type: ignore[operator]
    else:
        _put(whole, whole.base_model, base)
    whole.tie_weights()
    if not torch.cuda.is_available():
        replace_dropout(whole)
    return whole


def _put(whole: nn.Module, old: nn.Module, new: nn.Module) -> None:
    """Replace a module by another wherever it hangs."""
    for parent in list(whole.modules()):
        for name, child in list(parent.named_children()):
            if child is old:
                setattr(parent, name, new)


def _encoded(batch: Batch) -> Encoded:
    """Return a batch of whole rows as encoded examples."""
    arrays = {name: _ragged(tensor) for name, tensor in batch.items()}
    tokens = arrays.pop("input_ids")
    return Encoded(tokens, np.arange(len(tokens.lengths)), len(tokens.lengths), arrays)


def _ragged(tensor: Tensor) -> Ragged:
    rows, width = tensor.shape
    return Ragged(tensor.numpy().astype(np.int32).ravel(), np.arange(rows + 1, dtype=np.int64) * width)
