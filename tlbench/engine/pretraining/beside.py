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
from tlbench.engine.forms import known
from tlbench.engine.layers import tie
from tlbench.engine.precision import Precision
from tlbench.engine.pretraining.objectives import Batch, Student, objective_for
from tlbench.engine.pretraining.packing import packed_rows, tokenize
from tlbench.engine.pretraining.vocabulary import symbols_of
from tlbench.setups import Pretraining, Random, Setup, TextStream

_BYTES_PER_TOKEN = 4


class Reader(Student):
    """A model around another machine's trunk, with its objective: what a text stream trains.

    Dropout is on while the target's is, as both train one trunk.
    """

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
    texts: frozenset[str]


def reading_beside(
    trunk: nn.Module, source: Source, setup: Setup, texts: Sequence[str], stream: TextStream, seed: int,
    precision: Precision,
) -> Text:
    """Return text as a stream on a trunk.

    Args:
        trunk: What the target trains: the whole model, or the part of it that the target uses; with adapters or not.
        source: The model; what the trunk lacks of it is loaded.
        setup: Says whether that starts at random, too, and which of its blocks share weights.
        texts: Documents; they are read as a set.
        stream: Objective, row length, masking, and how much text.
        seed: Seed of the choice of texts, of masks and of random weights.
        precision: Numeric precision.

    Raises:
        UserError: the objective is not one for the model's family, the tokenizer lacks its marks, or there are fewer
            than two texts.
    """
    adapted: Any = trunk
    base: Any = adapted.get_base_model() if hasattr(trunk, "get_base_model") else trunk
    tokenizer = load_tokenizer(source)
    recipe = Pretraining(
        stream.objective, tokens=stream.tokens, length=max_positions(base, tokenizer, stream.length),
        noise=stream.noise, span=stream.span, seed=seed,
    )
    whole = base if base.get_output_embeddings() is not None else _around(base, source, setup, seed)
    symbols = symbols_of(tokenizer, getattr(whole.config, "decoder_start_token_id", None))
    reader = Reader(whole, objective_for(recipe, source.architecture.family, symbols), precision)
    documents = documents_of(_drawn(sorted(set(texts)), stream.tokens, seed))
    packed = packed_rows(tokenize(documents, tokenizer), recipe)[: max(1, stream.tokens // recipe.length)]
    batch = reader.objective.batch(packed, np.random.default_rng([seed, 5]))
    inside = {id(p) for p in trunk.parameters()}
    rest = tuple(p for p in whole.parameters() if id(p) not in inside)
    return Text(reader, _encoded(batch), rest, frozenset(documents.texts))


def _drawn(texts: Sequence[str], tokens: int, seed: int) -> list[str]:
    """Return texts in random order that have about so many tokens together, and at least two of them."""
    found: list[str] = []
    size = 0
    for place in np.random.default_rng([seed, 6]).permutation(len(texts)):
        if size >= _BYTES_PER_TOKEN * tokens and len(found) > 1:
            break
        found.append(texts[place])
        size += len(found[-1].encode("utf-8", "replace"))
    return found


def targets(encoded: Encoded, rows: Sequence[int]) -> float:
    """Return the number of targets in some rows, by which their summed loss is divided."""
    return known(encoded.ragged["targets"], rows)


def _around(base: nn.Module, source: Source, setup: Setup, seed: int) -> Any:
    """Return the whole model with a part of it replaced by the part that is trained elsewhere."""
    random = isinstance(setup.weights, Random)
    layers = setup.weights.layers if isinstance(setup.weights, Random) else None
    whole: Any = load_language_model(replace(source, generates=False), random, seed, layers)
    if setup.ties:
        tie(whole, setup.ties.distinct)
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
