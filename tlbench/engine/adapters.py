"""Adapters: modules of the `peft` library on a trunk whose own weights are frozen."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from tlbench.engine.dropout import replace_dropout
from tlbench.errors import UnsupportedError
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
        # LN-tuning wraps norms, which is its purpose, and peft warns of every layer that is not linear.
        warnings.filterwarnings("ignore", message="Unsupported layer type", category=UserWarning)
        torch.manual_seed(seed)
        try:
            adapted: nn.Module = get_peft_model(trunk, config)
        except (ValueError, TypeError) as error:
            name = adapter.method if isinstance(adapter, Peft) else "lora"
            raise UnsupportedError(f"PEFT method {name!r} refuses architecture {model_type!r}: {error}") from error
    if not torch.cuda.is_available():
        replace_dropout(adapted)
    return adapted


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
        fan_in_fan_out=model_type == "gpt2",
    )


def _other(adapter: Peft, model_type: str) -> Any:
    import peft

    forward = {"fan_in_fan_out": True} if model_type == "gpt2" else {}
    methods: Mapping[str, Callable[[], tuple[Any, dict[str, Any]]]] = {
        "dora": lambda: (peft.LoraConfig, {"use_dora": True, "target_modules": "all-linear", **forward}),
        "rslora": lambda: (peft.LoraConfig, {"use_rslora": True, "target_modules": "all-linear", **forward}),
        "ia3": lambda: (peft.IA3Config, {**_ia3(model_type), **forward}),
        "loha": lambda: (peft.LoHaConfig, {"target_modules": _targets(model_type, adapter)}),
        "lokr": lambda: (peft.LoKrConfig, {"target_modules": _targets(model_type, adapter)}),
        "oft": lambda: (peft.OFTConfig, {"target_modules": _targets(model_type, adapter), "use_cayley_neumann": False}),
        "vera": lambda: (peft.VeraConfig, {"target_modules": _targets(model_type, adapter), **forward}),
        "ln-tuning": lambda: (peft.LNTuningConfig, {"target_modules": _NORMS.get(model_type, ["LayerNorm"])}),
    }
    if adapter.method not in methods:
        raise UnsupportedError(f"PEFT method {adapter.method!r} is not known here: use one of {', '.join(methods)}")
    config, usual = methods[adapter.method]()
    try:
        return config(**{**usual, **adapter.config})
    except (TypeError, ValueError) as error:
        raise UnsupportedError(f"PEFT method {adapter.method!r} refuses {dict(adapter.config)!r}: {error}") from error


def _ia3(model_type: str) -> dict[str, Any]:
    attention = _known(_KEY_VALUE, model_type, "IA3", "another method")
    forward = _known(_FEED_FORWARD, model_type, "IA3", "another method")
    return {"target_modules": [*attention, *forward], "feedforward_modules": forward}


def _targets(model_type: str, adapter: Peft) -> list[str]:
    """Return the attention projections that carry a method which does not know `all-linear`."""
    if "target_modules" in adapter.config:
        return list(adapter.config["target_modules"])
    return _known(_QUERY_VALUE, model_type, f"PEFT method {adapter.method!r}", "lora(targets=all-linear)")


def _known(table: Mapping[str, list[str]], model_type: str, what: str, instead: str) -> list[str]:
    if model_type not in table:
        raise UnsupportedError(f"{what} is not known for architecture {model_type!r}: use {instead}")
    return table[model_type]
