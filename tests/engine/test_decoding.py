"""Greedy decoding gives what transformers' own loop gives, and computes fewer rows."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    GPT2Config,
    GPT2LMHeadModel,
    Lfm2Config,
    Lfm2ForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MambaConfig,
    MambaForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
)

from tlbench.engine.decoding import greedy

SIZE = 40
NEW = 24


def t5() -> Any:
    return T5ForConditionalGeneration(T5Config(
        vocab_size=SIZE, d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2, decoder_start_token_id=0,
        tie_word_embeddings=False))


def bart() -> Any:
    return BartForConditionalGeneration(BartConfig(
        vocab_size=SIZE, d_model=16, encoder_layers=1, decoder_layers=2, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=32, decoder_ffn_dim=32, max_position_embeddings=64,
        decoder_start_token_id=2, forced_eos_token_id=None, bos_token_id=0))


def gpt2() -> Any:
    return GPT2LMHeadModel(GPT2Config(vocab_size=SIZE, n_embd=16, n_layer=2, n_head=2, n_positions=64, bos_token_id=0))


def llama() -> Any:
    return LlamaForCausalLM(LlamaConfig(
        vocab_size=SIZE, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=64))


def wild(build: Any) -> Any:
    """Return a model with weights so large that its rows do not all say the same."""
    torch.manual_seed(3)
    model = build()
    for p in model.parameters():
        p.data = torch.randn_like(p) * 0.4 if build is t5 else p.data * 8
    return model.eval()


def prompts(model: Any, rows: int) -> dict[str, torch.Tensor]:
    """Return prompts of different lengths, padded where the family needs it."""
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(3, SIZE, (rows, 12), generator=generator)
    mask = torch.ones_like(ids)
    for row in range(rows):
        unused = row % 7
        padded = slice(12 - unused, 12) if model.config.is_encoder_decoder else slice(0, unused)
        mask[row, padded], ids[row, padded] = 0, 1
    return {"input_ids": ids, "attention_mask": mask}


def endings(model: Any, given: dict[str, torch.Tensor], options: dict[str, Any]) -> list[int]:
    """Return end tokens that let more than half of the rows stop, at three steps or more."""
    free = model.generate(**given, **options, eos_token_id=None)
    behind = free[:, 1 if model.config.is_encoder_decoder else given["input_ids"].shape[1]:].tolist()
    for last in range(4, SIZE):
        ends = set(range(3, last))
        stops = [next(i for i, token in enumerate(row) if token in ends) for row in behind if ends & set(row)]
        if len(stops) > len(behind) / 2 and len(set(stops)) >= 3:
            return sorted(ends)
    raise AssertionError("all rows say the same: change the weights")


def complete(model: Any, given: dict[str, torch.Tensor], options: dict[str, Any]) -> dict[str, Any]:
    """Return options of greedy decoding, with end tokens at which rows stop one after the other."""
    options = {"max_new_tokens": NEW, "do_sample": False, "num_beams": 1, "pad_token_id": 1, **options}
    return {**options, "eos_token_id": endings(model, given, options)}


@pytest.mark.parametrize("build", [t5, bart, gpt2, llama])
@pytest.mark.parametrize("options", [{}, {"use_cache": False}])
def test_same_tokens_as_transformers(build: Any, options: dict[str, Any]) -> None:
    model = wild(build)
    given = prompts(model, 32)
    options = complete(model, given, options)
    expected = model.generate(**given, **options)
    sizes: list[int] = []
    model.register_forward_pre_hook(lambda module, args, kwargs: sizes.append(
        len(kwargs["decoder_input_ids" if model.config.is_encoder_decoder else "input_ids"])), with_kwargs=True)
    made = model.generate(**given, **options, custom_generate=greedy)
    assert torch.equal(made, expected)
    assert sizes[0] == 32
    assert sizes[-1] <= 16, "a batch must shrink when half of its rows are finished"


def test_a_row_alone_says_what_it_says_in_a_batch() -> None:
    model = wild(t5)
    given = prompts(model, 24)
    options = complete(model, given, {})
    together = model.generate(**given, **options, custom_generate=greedy)
    for row in range(24):
        alone = model.generate(**{name: value[row:row + 1] for name, value in given.items()}, **options)
        assert torch.equal(together[row, :alone.shape[1]], alone[0])
        assert (together[row, alone.shape[1]:] == 1).all()


def hybrid() -> Any:
    return Lfm2ForCausalLM(Lfm2Config(
        vocab_size=SIZE, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, layer_types=["conv", "full_attention"], pad_token_id=1))


def mamba() -> Any:
    return MambaForCausalLM(MambaConfig(
        vocab_size=SIZE, hidden_size=16, state_size=4, num_hidden_layers=2, pad_token_id=1))


@pytest.mark.parametrize(("build", "options"), [
    (hybrid, {}), (mamba, {}), (llama, {"repetition_penalty": 1.3}), (gpt2, {"no_repeat_ngram_size": 2})])
def test_a_batch_that_cannot_be_divided_stays_whole(build: Any, options: dict[str, Any]) -> None:
    model = wild(build)
    given = prompts(model, 32)
    options = complete(model, given, options)
    expected = model.generate(**given, **options)
    assert torch.equal(model.generate(**given, **options, custom_generate=greedy), expected)
