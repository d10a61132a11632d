"""Own attention and own dropout do what torch's do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import transformers
from torch import nn

from tlbench.engine.dropout import ATTENTION, MASKS, Masks, StreamDropout, register, replace_dropout


@pytest.mark.parametrize(("family", "auto"), [
    ("encoder", transformers.AutoModel),
    ("decoder", transformers.AutoModel),
    ("decoder", transformers.AutoModelForCausalLM),
    ("encoder-decoder", transformers.AutoModelForSeq2SeqLM),
])
def test_own_attention_equals_eager_attention(family: str, auto: type, zoo: Callable[..., Path]) -> None:
    register()
    ids = torch.randint(2, 100, (3, 20), generator=torch.Generator().manual_seed(0))
    mask = (torch.arange(20)[None, :] < torch.tensor([20, 13, 1])[:, None]).long()
    given = {"input_ids": ids, "attention_mask": mask}
    if family == "encoder-decoder":
        given["decoder_input_ids"] = ids[:, :7]
    out = []
    for attention in (ATTENTION, "eager"):
        model = auto.from_pretrained(zoo(family), attn_implementation=attention).eval()
        for p in model.parameters():
            p.data.mul_(2)
        with torch.no_grad():
            out.append(model(**given)[0])
        gradients = model.train(False)(**given)[0].sum()
        gradients.backward()
        out.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))
    keep = slice(None) if family == "encoder-decoder" else mask.bool()
    torch.testing.assert_close(out[0][keep], out[2][keep], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(out[1], out[3], atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_masks_keep_the_rate_and_the_mean(rate: float) -> None:
    masks = Masks()
    kept = masks.keep(torch.ones(1000, 1000), rate)
    assert float((kept == 0).float().mean()) == pytest.approx(rate, abs=0.003)
    assert float(kept.mean()) == pytest.approx(1, abs=0.01)
    assert kept.unique().numel() == 2
    assert float(kept.max()) == pytest.approx(1 / (1 - rate), rel=1e-3)


def test_masks_are_reproducible_by_seed() -> None:
    masks, ones = Masks(), torch.ones(50, 7)
    masks.seed(5)
    first, second = masks.keep(ones, 0.3), masks.keep(ones, 0.3)
    assert not torch.equal(first, second)
    masks.seed(5)
    assert torch.equal(masks.keep(ones, 0.3), first)
    masks.seed(6)
    assert not torch.equal(masks.keep(ones, 0.3), first)


def test_masks_keep_shape_dtype_and_gradient() -> None:
    hidden = torch.randn(3, 4, 5, dtype=torch.bfloat16, requires_grad=True)
    kept = MASKS.keep(hidden.transpose(0, 2), 0.5)
    kept.sum().backward()
    assert kept.shape == (5, 4, 3)
    assert kept.dtype == torch.bfloat16
    assert set(hidden.grad.unique().tolist()) == {0.0, 2.0}


def test_dropout_is_off_in_eval_mode_and_at_rate_zero() -> None:
    hidden = torch.randn(10, 10)
    assert StreamDropout(0.5).eval()(hidden) is hidden
    assert StreamDropout(0.0).train()(hidden) is hidden
    assert not torch.equal(StreamDropout(0.5).train()(hidden), hidden)


def test_every_dropout_is_replaced() -> None:
    module = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.Dropout(0.2)), nn.ModuleDict({"a": nn.Dropout(0.3)}))
    replace_dropout(module)
    assert not any(isinstance(child, nn.Dropout) for child in module.modules())
    assert sorted(child.p for child in module.modules() if isinstance(child, StreamDropout)) == [0.2, 0.3]
