"""Text generation: encoder-decoders learn target from source; decoders continue the source after a separator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from tlbench.engine.decoding import greedy
from tlbench.engine.encoding import Encoded, Ragged
from tlbench.engine.families import decoder_inputs
from tlbench.engine.forms import IGNORED, Batch, Form
from tlbench.errors import UserError
from tlbench.kinds.likelihood import Likelihood
from tlbench.strategy import Prediction

if TYPE_CHECKING:
    from tlbench.engine.machine import Machine

_SEPARATOR = "\n\n"
_LOGITS = 2**28
"""Logits of a batch that is evaluated, at most: 1 GiB in float32."""


class GenerationForm(Form):
    """Greedy generation by the whole model; there is no head."""

    generates = True

    def encode(self, examples: Sequence[Any]) -> Encoded:
        """Tokenize sources and first targets; every target ends with the end-of-sequence token."""
        sources = self.tokenize([e.source for e in examples])["input_ids"]
        targets = self._targets([e.targets[0] for e in examples])
        if self.frame.family == "decoder":
            separator = self.frame.tokenizer(_SEPARATOR, add_special_tokens=False)["input_ids"]
            sources = [source + separator for source in sources]
        rows = np.arange(len(examples))
        sources = [source or [self.end] for source in sources]
        return Encoded(Ragged.of(sources), rows, len(examples), {"labels": Ragged.of(targets, IGNORED)})

    @property
    def end(self) -> int:
        """Return the id of the end-of-sequence token.

        Raises:
            UserError: the tokenizer has none.
        """
        end = self.frame.tokenizer.eos_token_id
        if end is None:
            raise UserError("the tokenizer has no end-of-sequence token, so generation would never stop: set eos_token")
        return int(end)

    def _targets(self, texts: Sequence[str]) -> list[list[int]]:
        kept = self.frame.max_target_length - 1
        rows = self.frame.tokenizer(text_target=list(texts), add_special_tokens=False)["input_ids"]
        return [[*row[:kept], self.end] for row in rows]

    def outputs(self) -> int:
        """Return 0: the model's own output layer is the head."""
        return 0

    def scores(self, machine: Machine, batch: Batch) -> torch.Tensor:
        """Return the logits of each target token, (rows, target tokens, vocabulary)."""
        if self.frame.family == "decoder":
            return self._continue(machine, batch)
        trunk: Any = machine.trunk
        inner = trunk.get_base_model() if hasattr(trunk, "get_base_model") else trunk
        given: dict[str, Any] = {"attention_mask": batch["attention_mask"]}
        if "hidden" in batch:
            given["encoder_outputs"] = (batch["hidden"],)
        else:
            given["input_ids"] = batch["input_ids"]
        decoder_input = decoder_inputs(inner, batch["labels"])
        logits: torch.Tensor = trunk(**given, decoder_input_ids=decoder_input, use_cache=False).logits
        return logits.float()

    def _continue(self, machine: Machine, batch: Batch) -> torch.Tensor:
        """Return the logits with which a decoder predicts the target tokens behind the source."""
        labels = batch["labels"]
        ids, mask, starts = joined(batch["input_ids"], batch["attention_mask"], labels)
        logits = machine.trunk(input_ids=ids, attention_mask=mask, use_cache=False).logits
        places = (starts[:, None] + torch.arange(labels.shape[1], device=ids.device)[None, :] - 1).clamp(
            max=ids.shape[1] - 1
        )
        return torch.gather(logits, 1, places.unsqueeze(-1).expand(-1, -1, logits.shape[-1])).float()

    def loss(self, scores: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Return the cross-entropy summed over target tokens."""
        return nn.functional.cross_entropy(
            scores.flatten(0, 1), batch["labels"].flatten(), reduction="sum", ignore_index=IGNORED
        )

    def nats(self, scores: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Return the negative log-likelihood of each row's target, float32 of shape (rows,)."""
        each = nn.functional.cross_entropy(
            scores.flatten(0, 1), batch["labels"].flatten(), reduction="none", ignore_index=IGNORED
        )
        return each.view(batch["labels"].shape).sum(1)

    def likelihoods(self, examples: Sequence[Any], encoded: Encoded, nats: Sequence[float]) -> list[Likelihood]:
        """Return what `nats` says of each example's first reference, with its size."""
        labels = encoded.ragged["labels"]
        found = []
        for row, (example, spent) in enumerate(zip(examples, nats, strict=True)):
            tokens, text = int(labels.lengths[row]), example.targets[0]
            if tokens == self.frame.max_target_length:
                text = self._fitting(text)
            found.append(Likelihood(spent, tokens, len(text.encode("utf-8", "replace"))))
        return found

    def _fitting(self, text: str) -> str:
        """Return the part of a reference whose tokens fit in front of the end."""
        kept, tokenizer = self.frame.max_target_length - 1, self.frame.tokenizer
        given = tokenizer(text_target=text, add_special_tokens=False, return_offsets_mapping=tokenizer.is_fast)
        if len(given["input_ids"]) <= kept:
            return text
        if tokenizer.is_fast:
            return text[: given["offset_mapping"][kept - 1][1]]
        return str(tokenizer.decode(given["input_ids"][:kept], skip_special_tokens=True))

    def rows_at_once(self, machine: Machine) -> int:
        """Return how many rows have 2^28 logits together (1 GiB in float32), at most the usual number."""
        trunk: Any = machine.trunk
        source = self.frame.max_length if self.frame.family == "decoder" else 0
        each = (source + self.frame.max_target_length) * int(trunk.get_output_embeddings().weight.shape[0])
        return max(1, min(super().rows_at_once(machine), _LOGITS // each))

    def weight(self, encoded: Encoded, rows: Sequence[int]) -> float:
        """Return the number of target tokens."""
        return float(encoded.ragged["labels"].lengths[list(rows)].sum())

    def raw(self, machine: Machine, batch: Batch) -> list[Any]:
        """Return the generated token ids of each row."""
        trunk: Any = machine.trunk
        ids, mask = batch.get("input_ids"), batch["attention_mask"]
        options = {
            "max_new_tokens": self.frame.max_target_length,
            "do_sample": False,
            "num_beams": 1,
            "eos_token_id": self.end,
            "pad_token_id": self._pad(),
            "custom_generate": greedy,
        }
        if self.frame.family == "decoder":
            assert ids is not None
            ids, mask = left_padded(ids, mask, self._pad())
            made = trunk.generate(input_ids=ids, attention_mask=mask, **options)[:, ids.shape[1] :]
        elif ids is None:
            from transformers.modeling_outputs import BaseModelOutput

            states = BaseModelOutput(last_hidden_state=batch["hidden"])
            made = trunk.generate(encoder_outputs=states, attention_mask=mask, **options)
        else:
            made = trunk.generate(input_ids=ids, attention_mask=mask, **options)
        return [row.tolist() for row in made.cpu()]

    def _pad(self) -> int:
        pad = self.frame.tokenizer.pad_token_id
        return self.end if pad is None else int(pad)

    def decode(self, examples: Sequence[Any], encoded: Encoded, raw: Sequence[Any]) -> list[Prediction]:
        """Return the generated texts without special tokens."""
        texts = self.frame.tokenizer.batch_decode(list(raw), skip_special_tokens=True)
        return [text.strip() for text in texts]


def room_behind(tokenizer: Any, target: int) -> int:
    """Return how many positions a decoder needs behind a source: the separator and the longest target."""
    return len(tokenizer(_SEPARATOR, add_special_tokens=False)["input_ids"]) + target


def joined(
    source: torch.Tensor, mask: torch.Tensor, labels: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Join right-padded sources and targets row by row.

    Args:
        source: Token ids, (rows, source tokens).
        mask: Which of them are real.
        labels: Target ids, (rows, target tokens), -100 where padded.

    Returns:
        Token ids (rows, tokens), their mask, and where each row's target starts.
    """
    starts = mask.sum(1)
    sizes = (labels != IGNORED).sum(1)
    width = int((starts + sizes).max())
    ids = source.new_zeros(len(source), width)
    out = mask.new_zeros(len(source), width)
    for row, (start, size) in enumerate(zip(starts.tolist(), sizes.tolist(), strict=True)):
        ids[row, :start] = source[row, :start]
        ids[row, start : start + size] = labels[row, :size]
        out[row, : start + size] = 1
    return ids, out, starts


def left_padded(ids: torch.Tensor, mask: torch.Tensor, pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return right-padded rows padded on the left, as generation with a decoder needs them."""
    lengths = mask.sum(1).tolist()
    out = torch.full_like(ids, pad)
    for row, length in enumerate(lengths):
        out[row, ids.shape[1] - length :] = ids[row, :length]
    return out, mask.flip(1)
