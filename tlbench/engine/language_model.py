"""A pre-trained model that is asked in texts: likelihoods and greedy continuations, in batches, in eval mode."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from tlbench.engine.decoding import greedy
from tlbench.engine.encoding import Ragged, evaluation_batches
from tlbench.engine.families import Source, check_offsets, load_tokenizer, load_trunk, max_positions
from tlbench.engine.forms import IGNORED
from tlbench.engine.generation import left_padded
from tlbench.engine.likelihood import answered, branched, continued
from tlbench.engine.place import Place
from tlbench.engine.precision import Precision, autocast
from tlbench.engine.pretraining.vocabulary import symbols_of
from tlbench.errors import UnsupportedError
from tlbench.setups import Pretrained
from tlbench.strategy import TextModel

_UNLIMITED = 10**9
_BATCH_TOKENS = 4096
"""Padded tokens in a batch; the logits of answers over a large vocabulary take more room than these."""

Ids = list[int]


class LanguageModel(TextModel):
    """A decoder, which continues its prompt, or an encoder-decoder, which answers it."""

    def __init__(self, source: Source, place: Place, precision: Precision) -> None:
        """Load the pre-trained weights.

        Raises:
            UnsupportedError: the model is an encoder.
            UserError: weights or tokenizer are missing or refused.
        """
        self.decodes = source.architecture.family == "decoder"
        if source.architecture.family == "encoder":
            raise UnsupportedError("an encoder alone predicts no next word, so it cannot be prompted")
        self.tokenizer = load_tokenizer(source)
        if self.decodes:
            check_offsets(self.tokenizer)
        self.trunk: Any = load_trunk(source, Pretrained(), 0).to(place.device)
        self.place, self.precision = place, precision
        self.positions = max_positions(self.trunk, self.tokenizer, _UNLIMITED)
        self.places = "position_ids" in inspect.signature(self.trunk.forward).parameters
        self.tokens_seen = 0
        end, pad = self.tokenizer.eos_token_id, self.tokenizer.pad_token_id
        self.end: int | None = end
        self.sentinels: Ids = [] if self.decodes else list(symbols_of(self.tokenizer).sentinels[:2])
        self.gap = self.tokenizer.convert_ids_to_tokens(self.sentinels[0]) if len(self.sentinels) == 2 else None
        self.pad = int(pad if pad is not None else end or 0)

    def sizes(self) -> dict[str, Any]:
        """Return what the record's `model` group says of the weights."""
        total = sum(weight.numel() for weight in self.trunk.parameters())
        return {"params_total": total, "params_trainable": 0, "init": "pretrained"}

    def flops(self) -> float:
        """Return 2 operations per weight and token (Kaplan 2020); attention left out."""
        return 2.0 * float(self.sizes()["params_total"]) * self.tokens_seen

    def count(self, texts: Sequence[str]) -> list[int]:
        """Return how many tokens each text has as a prompt."""
        return [len(row) for row in self._prompts(texts)]

    def log_likelihood(self, prompts: Sequence[str], continuations: Sequence[str]) -> list[float]:
        """Return the mean log-likelihood per token of each continuation behind its prompt, in nats.

        A decoder reads prompt and continuation as one text; an encoder-decoder reads the prompt and writes the
        continuation, without its leading space.
        """
        pairs = [self._pair(*pair) for pair in zip(prompts, continuations, strict=True)]
        opening = self.sentinels[:1] if self._fills(prompts) else []
        groups: dict[tuple[int, ...], list[int]] = {}
        for row, (before, after) in enumerate(pairs):
            if after:
                groups.setdefault(tuple(before), []).append(row)
        shared = list(groups.items())  # a prompt is read once, whatever the number of its continuations

        def means(batch: list[int]) -> list[list[tuple[int, float]]]:
            before, mask = self._padded([list(shared[one][0]) for one in batch])
            rows = [row for one in batch for row in shared[one][1]]
            copies = [place for place, one in enumerate(batch) for _ in shared[one][1]]
            labels = Ragged.of([pairs[row][1] for row in rows], IGNORED).padded(range(len(rows))).to(self.place.device)
            found = self._means(before, mask, labels, torch.tensor(copies, device=self.place.device), opening)
            return [[pair for pair, copy in zip(zip(rows, found, strict=True), copies, strict=True) if copy == place]
                    for place in range(len(batch))]

        sizes = [len(before) * len(rows) + sum(len(pairs[row][1]) for row in rows) for before, rows in shared]
        by_row = dict(pair for answers in self._in_batches(sizes, means) for pair in answers)
        return [by_row.get(row, float("-inf")) for row in range(len(pairs))]

    def generate(self, prompts: Sequence[str], max_tokens: int, stop: str) -> list[str]:
        """Return the greedy continuation of each prompt, stripped, up to `stop` or so many tokens."""
        room = max(1, self.positions - max_tokens)
        rows = [row[-room:] for row in self._prompts(prompts)]
        fills = self._fills(prompts)
        opening = [self.trunk.config.decoder_start_token_id, self.sentinels[0]] if fills else []
        ends = [end for end in (self.end, *self.sentinels[1:][:fills]) if end is not None]

        def texts(batch: list[int]) -> list[str]:
            ids, mask = self._padded([rows[row] for row in batch])
            if self.decodes:
                ids, mask = left_padded(ids, mask, self.pad)
            begin = ids.shape[1] if self.decodes else max(1, len(opening))
            start = {"decoder_input_ids": ids.new_tensor([opening] * len(batch))} if opening else {}
            made = self.trunk.generate(
                input_ids=ids, attention_mask=mask, max_new_tokens=max_tokens, do_sample=False, num_beams=1,
                eos_token_id=ends or None, pad_token_id=self.pad, custom_generate=greedy, **start,
                stopping_criteria=[lambda given, scores, **_: self._stopped(given[:, begin:], stop)],
            )[:, begin:]
            self.tokens_seen += made.numel()
            return [text.strip().partition(stop)[0].strip() for text in self._texts(made)]

        return self._in_batches([len(row) for row in rows], texts)

    def _fills(self, prompts: Sequence[str]) -> bool:
        return self.gap is not None and all(prompt.endswith(self.gap) for prompt in prompts)

    def _stopped(self, made: torch.Tensor, stop: str) -> torch.Tensor:
        """Return which rows hold the stop text, white space at the start aside."""
        return torch.tensor([stop in text.lstrip() for text in self._texts(made)], device=made.device)

    def _texts(self, made: torch.Tensor) -> list[str]:
        texts: list[str] = self.tokenizer.batch_decode(made.tolist(), skip_special_tokens=True)
        return texts

    def _prompts(self, texts: Sequence[str]) -> list[Ids]:
        """Return the token ids of prompts, at least one each; an end that a decoder's tokenizer adds is dropped."""
        rows: list[Ids] = self.tokenizer(list(texts))["input_ids"] if texts else []
        if self.decodes:
            rows = [row[:-1] if row and row[-1] == self.end else row for row in rows]
        start = self.tokenizer.bos_token_id
        return [row or [self.pad if start is None else int(start)] for row in rows]

    def _pair(self, prompt: str, continuation: str) -> tuple[Ids, Ids]:
        """Return the ids of a prompt, cut on the left to what fits, and of its continuation.

        A decoder's are those of the joined text, told apart by their offsets, since the space between them
        belongs to one of them in one vocabulary and to the other in another.
        """
        (before,) = self._prompts([prompt])
        if not self.decodes:
            after: Ids = self.tokenizer(continuation.strip(), add_special_tokens=False)["input_ids"]
            return before[-self.positions :], after
        whole = self.tokenizer(prompt + continuation, return_offsets_mapping=True)
        ids, ends = whole["input_ids"], [end for _, end in whole["offset_mapping"]]
        cut = next((place for place, end in enumerate(ends) if end > len(prompt)), len(ids))
        after = [one for one, end in zip(ids[cut:], ends[cut:], strict=True) if end > len(prompt)]
        return (ids[:cut] or before[:1])[-max(1, self.positions - len(after)) :], after

    def _padded(self, rows: Sequence[Ids]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return ids padded on the right and their mask, (rows, longest)."""
        ragged = Ragged.of(rows, self.pad)
        ids = ragged.padded(range(len(rows)))
        mask = torch.arange(ids.shape[1])[None, :] < torch.from_numpy(ragged.lengths)[:, None]
        self.tokens_seen += int(ragged.lengths.sum())
        return ids.to(self.place.device), mask.long().to(self.place.device)

    def _means(
        self, before: torch.Tensor, mask: torch.Tensor, labels: torch.Tensor, copies: torch.Tensor, opening: Ids
    ) -> list[float]:
        """Return the mean log-likelihood of each row of labels behind its prompt (`copies`) and the given opening."""
        self.tokens_seen += int((labels != IGNORED).sum())
        if not self.decodes:
            given = labels.new_tensor(opening).expand(len(labels), -1)
            logits = answered(self.trunk, before, mask, torch.cat([given, labels], 1), copies)[:, len(opening) :]
        elif len(copies) > len(before) and self.places:
            logits = branched(self.trunk, before, mask, labels, copies)
        else:
            logits = continued(self.trunk, before[copies], mask[copies], labels)
        real = labels != IGNORED
        gold = torch.gather(logits, 2, labels.clamp(min=0).unsqueeze(-1)).squeeze(-1)
        each = torch.where(real, gold - torch.logsumexp(logits, 2), 0.0)
        return [float(value) for value in (each.sum(1) / real.sum(1)).cpu()]

    @torch.no_grad()
    def _in_batches(self, lengths: Sequence[int], answer: Callable[[list[int]], list[Any]]) -> list[Any]:
        """Return one answer per row, on every rank; ranks share out whole batches of one plan."""
        plan = evaluation_batches(np.asarray(lengths, dtype=np.int64), tokens=_BATCH_TOKENS)
        found: list[tuple[int, Any]] = []

        def mine() -> None:
            for rows in plan[self.place.rank :: self.place.world]:
                with autocast(self.precision, self.place.device):
                    found.extend(zip(rows, answer(rows), strict=True))

        self.place.in_step(mine)  # ranks that wait in a collective could not be told of an error
        by_row = dict(self.place.gather(found))
        return [by_row[row] for row in range(len(lengths))]
