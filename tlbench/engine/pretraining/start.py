"""Where pre-training starts: a small architecture at random with a tokenizer of its own, or an existing model."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedTokenizerFast

from tlbench.canonical import plain
from tlbench.corpora.documents import Documents
from tlbench.engine.families import (
    Source,
    attention_for,
    language_model_class,
    load_language_model,
    load_tokenizer,
    max_positions,
)
from tlbench.engine.pretraining.vocabulary import train_tokenizer
from tlbench.errors import UserError
from tlbench.setups import Pretraining, Shape
from tlbench.stages.store import replace_folder

_POSITIONS = 512


@dataclass(frozen=True)
class Untrained:
    """Architecture and tokenizer of a model, with random weights instead of its own."""

    source: Source


Start = Shape | Source | Untrained


@dataclass(frozen=True)
class Learner:
    """A model to be pre-trained, and its tokenizer.

    Attributes:
        model: With its output layer, float32, in eval mode.
        tokenizer: A fast tokenizer.
        family: Family of the model.
    """

    model: nn.Module
    tokenizer: Any
    family: str


def family_of(start: Start) -> str:
    """Return the family of a start."""
    return start.family if isinstance(start, Shape) else source_of(start).architecture.family


def source_of(start: Source | Untrained) -> Source:
    """Return the model behind a start that is no shape."""
    return start.source if isinstance(start, Untrained) else start


def identity_of(start: Start) -> dict[str, Any]:
    """Return what identifies a start, as JSON types: the numbers of a shape, the content of a model."""
    if isinstance(start, Shape):
        return {"shape": asdict(start)}
    kind = "untrained" if isinstance(start, Untrained) else "model"
    return {kind: plain(source_of(start).architecture.identity)}


def prepare(start: Start, documents: Documents, recipe: Pretraining, folder: Path) -> Learner:
    """Return the model that a run begins with.

    Args:
        start: A shape, whose tokenizer is trained on the documents, or a model, trained or not, that brings its own.
        documents: The documents to train on.
        recipe: Its seed draws the random weights.
        folder: Where a trained tokenizer is kept, or lies already.

    Raises:
        UserError: the shape is impossible, the model cannot be loaded, or it is too short for the recipe's rows, or a
            trained tokenizer cannot be kept.
    """
    if not isinstance(start, Shape):
        source = source_of(start)
        model = load_language_model(source, isinstance(start, Untrained), recipe.seed)
        tokenizer = load_tokenizer(source)
        room = max_positions(model, tokenizer, recipe.length)
        if room < recipe.length:
            raise UserError(f"model {source.model.name!r} holds {room} tokens, fewer than the {recipe.length} of a "
                            "sequence: give a smaller --length")
        return Learner(model, tokenizer, source.architecture.family)
    if not folder.is_dir():
        trained = train_tokenizer(documents, start)
        try:
            replace_folder(folder, "tokenizer", lambda fresh: save_tokenizer(trained, fresh))
        except OSError as error:
            raise UserError(f"the work folder {str(folder)!r} cannot be written to ({error.strerror or error}): free "
                            "some space or set TLBENCH_CACHE") from error
    try:
        tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    except (OSError, ValueError) as error:
        raise UserError(f"the tokenizer kept in {str(folder)!r} cannot be read ({type(error).__name__}): remove its "
                        "folder to start over") from error
    return Learner(build(start, tokenizer, recipe), tokenizer, start.family)


def save_tokenizer(tokenizer: Any, folder: Path) -> None:
    """Write a tokenizer into a folder.

    Raises:
        OSError: it cannot be written; the tokenizers library itself raises a bare Exception on a full disk.
    """
    try:
        tokenizer.save_pretrained(folder)
    except OSError:
        raise
    except Exception as error:
        raise OSError(str(error)) from error


def build(shape: Shape, tokenizer: Any, recipe: Pretraining) -> nn.Module:
    """Return a randomly initialised float32 model in eval mode; embedding and output matrix are one.

    Raises:
        UserError: the width cannot be divided among the heads, or a number is not positive.
    """
    heads = shape.heads or max(1, shape.width // 64)
    if min(shape.layers, shape.width, heads) < 1 or shape.width % heads:
        raise UserError(f"{shape.layers} layers of width {shape.width} with {heads} heads cannot be built: give "
                        "positive numbers and a width that the heads divide")
    config = _CONFIGS[shape.family](shape, heads, tokenizer, max(_POSITIONS, recipe.length))
    auto = language_model_class(shape.family)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        model: nn.Module = auto.from_config(config, attn_implementation=attention_for(config.model_type))
    return model.eval()


def _bert(shape: Shape, heads: int, tokenizer: Any, positions: int) -> Any:
    from transformers import BertConfig

    return BertConfig(
        vocab_size=len(tokenizer), hidden_size=shape.width, num_hidden_layers=shape.layers, num_attention_heads=heads,
        intermediate_size=shape.hidden or 4 * shape.width, max_position_embeddings=positions,
        pad_token_id=tokenizer.pad_token_id)


def _gpt2(shape: Shape, heads: int, tokenizer: Any, positions: int) -> Any:
    from transformers import GPT2Config

    end = tokenizer.eos_token_id
    return GPT2Config(
        vocab_size=len(tokenizer), n_embd=shape.width, n_layer=shape.layers, n_head=heads, n_positions=positions,
        n_inner=shape.hidden or 4 * shape.width, bos_token_id=end, eos_token_id=end,
        pad_token_id=tokenizer.pad_token_id)


def _t5(shape: Shape, heads: int, tokenizer: Any, positions: int) -> Any:
    """Configure a T5 with gated SiLU: GELU is 12 % slower on two AVX-512 cores."""
    from transformers import T5Config

    return T5Config(
        vocab_size=len(tokenizer), d_model=shape.width, d_kv=shape.width // heads,
        d_ff=shape.hidden or round(2.75 * shape.width), num_layers=shape.layers, num_heads=heads,
        feed_forward_proj="gated-silu", pad_token_id=tokenizer.pad_token_id, eos_token_id=tokenizer.eos_token_id,
        decoder_start_token_id=tokenizer.pad_token_id)


_CONFIGS = {"encoder": _bert, "decoder": _gpt2, "encoder-decoder": _t5}
