"""Logits of given continuations: behind each prompt, behind a prompt that several share, or as a decoder's text."""

from __future__ import annotations

from typing import Any

import torch
from transformers.modeling_outputs import BaseModelOutput

from tlbench.engine.families import decoder_inputs
from tlbench.engine.generation import joined, left_padded


def answered(
    trunk: Any, before: torch.Tensor, mask: torch.Tensor, labels: torch.Tensor, copies: torch.Tensor
) -> torch.Tensor:
    """Return the logits with which an encoder-decoder predicts labels; each prompt is encoded once.

    Args:
        trunk: The model.
        before: Token ids of prompts, padded on the right, (prompts, tokens).
        mask: Which of them are real.
        labels: Token ids of continuations, -100 where padded, (rows, label tokens).
        copies: The prompt of each row, (rows,).

    Returns:
        Float32 of shape (rows, label tokens, vocabulary).
    """
    states = trunk.get_encoder()(input_ids=before, attention_mask=mask).last_hidden_state
    logits: torch.Tensor = trunk(
        encoder_outputs=BaseModelOutput(last_hidden_state=states[copies]),
        attention_mask=mask[copies],
        decoder_input_ids=decoder_inputs(trunk, labels),
        use_cache=False,
    ).logits
    return logits.float()


def continued(trunk: Any, before: torch.Tensor, mask: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the logits with which a decoder predicts labels behind a prompt of their own, as `answered` does."""
    ids, whole, starts = joined(before, mask, labels)
    first = int(starts.min()) - 1  # what lies before predicts nothing that is asked for
    logits = trunk(input_ids=ids, attention_mask=whole, use_cache=False, logits_to_keep=ids.shape[1] - first).logits
    steps = torch.arange(labels.shape[1], device=ids.device)[None, :]
    places = (starts[:, None] - 1 - first + steps).clamp(max=logits.shape[1] - 1)
    return torch.gather(logits, 1, places.unsqueeze(-1).expand(-1, -1, logits.shape[-1])).float()


def branched(
    trunk: Any, before: torch.Tensor, mask: torch.Tensor, labels: torch.Tensor, copies: torch.Tensor
) -> torch.Tensor:
    """Return the same as `answered` for a decoder that takes position ids; each prompt is read once and cached."""
    ids, left = left_padded(before, mask, 0)
    places = (left.cumsum(1) - 1).clamp(min=0)
    read = trunk(input_ids=ids, attention_mask=left, position_ids=places, use_cache=True, logits_to_keep=1)
    opening: torch.Tensor = read.logits[:, -1:][copies].float()
    if labels.shape[1] == 1:
        return opening
    cache = read.past_key_values
    cache.batch_select_indices(copies)
    given = labels[:, :-1].clamp(min=0)  # padding stands behind what is asked for, so its ids do not matter
    limit = int((mask.sum(1)[copies] + (labels >= 0).sum(1)).max()) - 1
    behind = mask.sum(1)[copies, None] + torch.arange(given.shape[1], device=given.device)[None, :]
    rest = trunk(
        input_ids=given,
        attention_mask=torch.cat([left[copies], torch.ones_like(given)], 1),
        position_ids=behind.clamp(max=limit),  # nor do its places, but they must be ones that the model has
        past_key_values=cache,
        use_cache=True,
    ).logits
    return torch.cat([opening, rest.float()], 1)
