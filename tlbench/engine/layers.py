"""The layers of a trunk from bottom to top: grouped, shortened, tied."""

from __future__ import annotations

import contextlib
import re
from typing import Any

from torch import nn

from tlbench.errors import UnsupportedError

_EMBEDDING = re.compile(r"(^|\.)(embeddings?|shared|embed_tokens|embed_positions|wte|wpe|lm_head|word_embedding)(\.|$)")


_DEPTHS = ("num_hidden_layers", "num_decoder_layers", "encoder_layers", "decoder_layers")
"""Where configurations count the blocks of a stack: T5 says `num_decoder_layers`, BART `decoder_layers`."""


def stacks(trunk: nn.Module) -> list[str]:
    """Return the names of the lists of blocks, the encoder's before the decoder's.

    A stack is an outermost list of as many modules as the configuration says that there are layers.
    """
    config: Any = trunk.config
    depths = {getattr(config, name, None) for name in _DEPTHS} - {None}
    found: list[str] = []
    for name, module in trunk.named_modules():
        inside = any(name.startswith(f"{outer}.") for outer in found)
        if isinstance(module, nn.ModuleList) and len(module) in depths and not inside:
            found.append(name)
    return found


def layer_groups(trunk: nn.Module) -> list[list[str]]:
    """Return the names of the trunk's weights in groups from the bottom to the top.

    The embeddings (with an output matrix), each block of the encoder, each block of the decoder, and what
    lies behind the last block.

    Raises:
        UnsupportedError: the architecture has no list of blocks that its configuration counts.
    """
    lists = stacks(trunk)
    if not lists:
        raise UnsupportedError(
            f"architecture {trunk.config.model_type!r} has no list of blocks that its configuration counts, so its "  # type: ignore[union-attr]
            "layers cannot be told apart: take a strategy that treats all layers alike"
        )
    embeddings: list[str] = []
    top: list[str] = []
    blocks: dict[tuple[str, int], list[str]] = {(name, i): [] for name in lists for i in range(depth(trunk, name))}
    outer = {id(p) for p in _tables(trunk)}
    for name, parameter in trunk.named_parameters():
        owner = next((stack for stack in lists if name.startswith(f"{stack}.")), None)
        if owner is not None:
            blocks[owner, int(name[len(owner) + 1 :].partition(".")[0])].append(name)
        elif _EMBEDDING.search(name) or id(parameter) in outer:
            embeddings.append(name)
        else:
            top.append(name)
    return [group for group in (embeddings, *blocks.values(), top) if group]


def _tables(trunk: nn.Module) -> list[nn.Parameter]:
    """Return the weights of the embedding and of the output matrix, by whatever name."""
    found: list[nn.Parameter] = []
    for name in ("get_input_embeddings", "get_output_embeddings"):
        with contextlib.suppress(NotImplementedError):
            table = getattr(trunk, name, lambda: None)()
            found += [] if table is None else list(table.parameters())
    return found


def depth(trunk: nn.Module, stack: str) -> int:
    """Return the number of blocks of a stack."""
    return len(list(trunk.get_submodule(stack).children()))


def shorten(config: Any, layers: int) -> None:
    """Make a configuration count `layers` blocks in each stack.

    Raises:
        UnsupportedError: the architecture does not say how many blocks it has.
    """
    if not getattr(config, "num_hidden_layers", None):
        raise UnsupportedError(
            f"architecture {config.model_type!r} does not say how many layers it has, so it cannot be built smaller"
        )
    config.num_hidden_layers = min(layers, config.num_hidden_layers)
    for name in _DEPTHS[1:]:
        if getattr(config, name, None):
            setattr(config, name, min(layers, getattr(config, name)))
    if getattr(config, "layer_types", None):
        config.layer_types = list(config.layer_types[:layers])


def tie(trunk: nn.Module, distinct: int) -> None:
    """Make neighbouring blocks of each stack share their weights, in place.

    Modules stay apart (each keeps its own slot of the decoding cache), parameters are shared; what a block has
    that the lowest of its run lacks stays its own.

    Args:
        trunk: The trunk.
        distinct: Runs of each stack.

    Raises:
        UnsupportedError: the architecture has no list of blocks, or none has more of them than runs.
    """
    if not stacks(trunk):
        layer_groups(trunk)
    most = max(len(trunk.get_submodule(name)) for name in stacks(trunk))  # type: ignore[arg-type]
    if most <= distinct:
        raise UnsupportedError(f"the model's stacks have at most {most} blocks, so {distinct} distinct ones tie none")
    for name in stacks(trunk):
        blocks: Any = trunk.get_submodule(name)
        runs = min(distinct, len(blocks))
        for place, block in enumerate(blocks):
            lowest = blocks[-(-(place * runs // len(blocks)) * len(blocks) // runs)]
            if lowest is not block:
                _share(lowest, block)


def _share(source: nn.Module, target: nn.Module) -> None:
    """Put the parameters of one block into another of the same shape."""
    for name, parameter in source.named_parameters():
        path, _, leaf = name.rpartition(".")
        owner = _submodule(target, path)
        if owner is not None and leaf in owner._parameters:
            setattr(owner, leaf, parameter)


def _submodule(module: nn.Module, path: str) -> nn.Module | None:
    try:
        return module.get_submodule(path)
    except AttributeError:
        return None
