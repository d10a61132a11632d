"""Greedy decoding that drops finished rows.

transformers' own loop computes every row of a batch until the longest one ends. Here a batch shrinks as soon as half
of its rows are finished: halving keeps the number of shapes small, since matrix kernels are prepared per shape.
"""

from __future__ import annotations

from typing import Any

import torch


def greedy(
    model: Any,
    input_ids: torch.Tensor,
    logits_processor: Any,
    stopping_criteria: Any,
    generation_config: Any,
    **given: Any,
) -> torch.Tensor:
    """Decode greedily; what `generate` of transformers takes as `custom_generate`.

    Args:
        model: A generating model of transformers.
        input_ids: Prompts, or the decoder's start tokens, int64 of shape (rows, tokens).
        logits_processor: Changes to the scores; with any, the batch stays whole.
        stopping_criteria: End token and maximum length.
        generation_config: The resolved config.
        given: Further arguments of the model: masks, encoder states, cache.

    Returns:
        The prompts and what was generated, (rows, longest), int64, padded behind the end of each row.
    """
    pad, tokens = generation_config.pad_token_id, input_ids
    out = input_ids.new_full((len(input_ids), stopping_criteria.max_length), pad)
    rows = torch.arange(len(input_ids), device=input_ids.device)
    finished = torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)
    fresh = None if not given.get("use_cache") else 1
    first = True
    while not bool(finished.all()):
        if not first and 2 * int(finished.sum()) >= len(rows) and _divisible(given, logits_processor):
            out[rows, : tokens.shape[1]] = tokens
            kept = torch.nonzero(~finished)[:, 0]
            given = {name: _taken(value, kept, len(rows)) for name, value in given.items()}
            rows, tokens, finished = rows[kept], tokens[kept], finished[kept]
        inputs = model.prepare_inputs_for_generation(
            tokens, next_sequence_length=None if first else fresh, is_first_iteration=first, **given
        )
        outputs = model(**inputs, return_dict=True)
        given = model._update_model_kwargs_for_generation(
            outputs, given, is_encoder_decoder=model.config.is_encoder_decoder
        )
        scores = logits_processor(tokens, outputs.logits[:, -1].float())
        chosen = scores.argmax(-1).masked_fill(finished, pad)
        tokens = torch.cat([tokens, chosen[:, None]], dim=1)
        finished = finished | stopping_criteria(tokens, None)
        first = False
    out[rows, : tokens.shape[1]] = tokens
    return out[:, : tokens.shape[1]]


def _divisible(given: dict[str, Any], logits_processor: Any) -> bool:
    """Return whether rows can be taken out: caches keep keys and values by row, and no processor has a memory."""
    from transformers import Cache, DynamicCache, EncoderDecoderCache
    from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

    caches = [value for value in given.values() if isinstance(value, Cache)]
    if any(name in given for name in ("cache_params", "mems", "past_buckets_states")) or len(logits_processor):
        return False
    halves = [half for each in caches for half in (
        (each.self_attention_cache, each.cross_attention_cache) if isinstance(each, EncoderDecoderCache) else (each,))]
    return all(type(half) is DynamicCache and all(type(layer) in (DynamicLayer, DynamicSlidingWindowLayer)
                                                  for layer in half.layers) for half in halves)


def _taken(value: Any, rows: torch.Tensor, size: int) -> Any:
    """Return the part of a model's argument that belongs to some rows."""
    from transformers import Cache
    from transformers.utils import ModelOutput

    if isinstance(value, Cache):
        value.batch_select_indices(rows)
        return value
    if isinstance(value, ModelOutput):
        return type(value)(**{name: _taken(part, rows, size) for name, part in value.items()})
    if isinstance(value, torch.Tensor) and value.ndim and len(value) == size:
        return value[rows]
    return value
