"""Adapters: modules of the `peft` library on a trunk whose own weights are frozen."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from tlbench.engine.dropout import replace_dropout
from tlbench.errors import UnsupportedError
from tlbench.peft_methods import TRANSPOSED, UNMERGED, configured, settings
from tlbench.setups import Adapter, Lora, Peft

_QUERY_VALUE = {
    "bert": ["query", "value"],
    "camembert": ["query", "value"],
    "electra": ["query", "value"],
    "roberta": ["query", "value"],
    "xlm-roberta": ["query", "value"],
    "distilbert": ["q_lin", "v_lin"],
    "gpt2": ["c_attn"],
    "t5": ["q", "v"],
    "mt5": ["q", "v"],
}
_FEED_FORWARD = {
    "bert": ["output.dense"],
    "camembert": ["output.dense"],
    "electra": ["output.dense"],
    "roberta": ["output.dense"],
    "xlm-roberta": ["output.dense"],
    "distilbert": ["ffn.lin2"],
    "gpt2": ["mlp.c_proj"],
    "t5": ["wo"],
    "mt5": ["wo"],
}
_KEY_VALUE = {
    "bert": ["key", "value"],
    "camembert": ["key", "value"],
    "electra": ["key", "value"],
    "roberta": ["key", "value"],
    "xlm-roberta": ["key", "value"],
    "distilbert": ["k_lin", "v_lin"],
    "gpt2": ["c_attn"],
    "t5": ["k", "v"],
    "mt5": ["k", "v"],
}
_NORMS = {
    "distilbert": ["sa_layer_norm", "output_layer_norm", "LayerNorm"],
    "gpt2": ["ln_1", "ln_2"],
    "t5": ["layer_norm"],
    "mt5": ["layer_norm"],
}


_HARMLESS = (
    "Unsupported layer type",  # LN-tuning wraps norms, which is its purpose, and peft warns of all but linear layers
    "Failed to load the CUDA extension", "Setting boft_n_butterfly_factor",  # 1 is BOFT's default, and none is built
    "Detected that the base layer has no bias",  # so BEFT's cannot be merged, and no merged size is recorded
)
"""How the warnings of peft begin that change nothing."""


def add_adapter(trunk: nn.Module, adapter: Adapter, model_type: str, seed: int) -> nn.Module:
    """Return the trunk with adapters; everything else in it is frozen.

    Args:
        trunk: The trunk; changed.
        adapter: What is added.
        model_type: transformers' name of the architecture.
        seed: Seed of the adapters' random weights.

    Raises:
        UnsupportedError: the method is not known for this architecture, or its settings are refused.
    """
    from peft import get_peft_model

    config = _lora(adapter, model_type) if isinstance(adapter, Lora) else _other(adapter, model_type)
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        if isinstance(adapter, Peft):
            warnings.filterwarnings("error", category=UserWarning, module="peft")  # it went on with something else
        for text in _HARMLESS:
            warnings.filterwarnings("ignore", message=text, category=UserWarning)
        torch.manual_seed(seed)
        try:
            adapted: nn.Module = get_peft_model(trunk, config)
        except (ImportError, NotImplementedError, TypeError, UserWarning, ValueError) as error:
            raise UnsupportedError(_refused(adapter, model_type, " ".join(str(error).split()))) from error
    if not any(p.requires_grad for p in adapted.parameters()):
        raise UnsupportedError(_refused(adapter, model_type, "it finds no layer to adapt"))
    if not torch.cuda.is_available():
        replace_dropout(adapted)
    return adapted


def merges(adapter: Adapter) -> bool:
    """Return whether an adapter can be merged into the weights below it, so that the model has its old size."""
    return isinstance(adapter, Lora) or adapter.method not in UNMERGED


def _refused(adapter: Adapter, model_type: str, why: str) -> str:
    if isinstance(adapter, Lora):
        return f"LoRA refuses architecture {model_type!r}: {why}"
    return (f"PEFT method {adapter.method!r} refuses architecture {model_type!r} as it is set: {why} (its settings: "
            f"{', '.join(settings(adapter.method))})")


def _lora(adapter: Lora, model_type: str) -> Any:
    from peft import LoraConfig

    targets: Any = "all-linear"
    if adapter.targets == "query-value":
        targets = _known(_QUERY_VALUE, model_type, "LoRA on query-value", "lora(targets=all-linear)")
    return LoraConfig(
        r=adapter.rank,
        lora_alpha=adapter.alpha,
        lora_dropout=adapter.dropout,
        target_modules=targets,
        fan_in_fan_out=model_type in TRANSPOSED,
    )


def _other(adapter: Peft, model_type: str) -> Any:
    wrong = adapter.fault(model_type)
    if wrong:
        raise UnsupportedError(wrong)
    usual: dict[str, Any] = {} if "target_modules" in adapter.config else _targets(adapter.method, model_type)
    if model_type in TRANSPOSED:
        usual["fan_in_fan_out"] = True
    return configured(adapter.method, adapter.config, {"feedforward_modules": [], **usual})


def _targets(method: str, model_type: str) -> dict[str, Any]:
    """Return which layers a method adapts; nothing leaves it to peft, which knows more architectures."""
    if method in ("dora", "lora", "rslora"):
        return {"target_modules": "all-linear"}
    if method == "ia3":
        attention = _known(_KEY_VALUE, model_type, "IA3", "peft(settings=target_modules:all-linear)")
        forward = _known(_FEED_FORWARD, model_type, "IA3", "peft(settings=target_modules:all-linear)")
        return {"target_modules": [*attention, *forward], "feedforward_modules": forward}
    if method == "ln-tuning":
        return {"target_modules": _NORMS.get(model_type, ["LayerNorm"])}
    return {"target_modules": _QUERY_VALUE[model_type]} if model_type in _QUERY_VALUE else {}


def _known(table: Mapping[str, list[str]], model_type: str, what: str, instead: str) -> list[str]:
    if model_type not in table:
        raise UnsupportedError(f"{what} is not known for architecture {model_type!r}: use {instead}")
    return table[model_type]
