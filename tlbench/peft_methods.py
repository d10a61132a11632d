"""The methods of the `peft` library by name: which adapt a trunk, how they are set, and why others are refused.

A name is the library's own in lower case with hyphens (`ln-tuning`); `dora` and `rslora` are settings of its LoRA.
What a method can be told comes from its configuration class. peft brings torch, so that it is imported for settings,
and for names that are in no table here: a newer peft may know them.
"""

from __future__ import annotations

import difflib
import types
import warnings
from collections.abc import Mapping
from dataclasses import fields
from enum import Enum
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from tlbench.errors import UnsupportedError

ANYWHERE = frozenset({
    "deft", "dora", "fourierft", "frod", "gralora", "hira", "ia3", "ln-tuning", "lora", "pvera", "randlora", "rslora",
    "tinylora", "unilora", "vblora", "vera", "waveft",
})
"""Methods that take linear layers as torch and as GPT-2 write them."""
LINEAR = frozenset({
    "adamss", "beft", "boft", "c3a", "delora", "glora", "hra", "lily", "loha", "lokr", "miss", "oft", "osf", "peanut",
    "psoft", "road", "shira", "supertuning",
})
"""Methods that take torch's own linear layers alone."""
TRANSPOSED = frozenset({"gpt2", "openai-gpt"})
"""transformers' names of the architectures whose matrices are stored the other way round."""
UNMERGED = frozenset({"beft", "lily"})
"""Methods that peft cannot merge into the weights of every layer that carries them."""
_INPUT = "puts learned vectors before the input, but tlbench's heads read one state per token of the text: take lora"
REFUSED = {
    "adalora": "prunes ranks on a schedule of steps and adds a term to the loss, and tlbench's loop gives it neither: "
               "take lora",
    "adaption-prompt": "puts prompts into the attention of a few decoders, and adapts no linear layer: take lora",
    "cartridge": "is a cache of keys and values that stands for one long text, not an adapter: take lora",
    "cpt": _INPUT,
    "multitask-prompt-tuning": _INPUT,
    "p-tuning": _INPUT,
    "poly": "routes among skills by the number of the task, and a cell has one task: take lora",
    "prefix-tuning": "hands learned keys and values to a decoder as its cache, which encoders do not take: take lora",
    "prompt-tuning": _INPUT,
    "shadow": "runs a second, smaller decoder beside the model and adds a loss of its own: take lora",
    "trainable-tokens": "trains the embeddings of single tokens, and adapts no linear layer: take lora",
    "xlora": "mixes LoRA adapters that were trained before, and there are none here: take lora",
}
"""Methods that cannot do their work in tlbench, and why."""
_VARIANTS = {"dora": ("lora", {"use_dora": True}), "rslora": ("lora", {"use_rslora": True})}
_PRESET: dict[str, dict[str, Any]] = {"frod": {"progressbar": False}, "oft": {"use_cayley_neumann": False}}
_NOT_SETTINGS = frozenset({
    # decided by tlbench: what is trained beside the modules, and how the architecture stores its matrices
    "modules_to_save", "fan_in_fan_out",
    # without effect here, or only with a schedule, an extension, another kind of weights or data of their own
    "alora_invocation_tokens", "boft_n_butterfly_factor", "final_warmup", "init_warmup", "layer_replication",
    "mask_interval", "megatron_core", "progressbar", "qalora_group_size", "runtime_offload_base_weight",
    "target_parameters", "trainable_token_indices", "use_asa", "use_effective_conv2d", "use_qalora",
})
_NOT_BEGINNINGS = ("asa_", "save_")


def fault(method: str, config: Mapping[str, Any], model_type: str | None = None) -> str | None:
    """Return why a method so set adapts no trunk, or none of this architecture, in one sentence; else `None`.

    Args:
        method: Name of the method.
        config: Its settings.
        model_type: transformers' name of the architecture, if it is known.
    """
    if method in REFUSED:
        return f"peft's {method} {REFUSED[method]}"
    if method in LINEAR and model_type in TRANSPOSED:
        return f"peft's {method} needs linear layers, which {model_type!r} does not have: take lora or ia3"
    if method in ANYWHERE | LINEAR and not config:
        return None
    try:
        configured(method, config, {"target_modules": ["any"]})
    except UnsupportedError as error:
        return str(error)
    return None


def configured(method: str, config: Mapping[str, Any], usual: Mapping[str, Any]) -> Any:
    """Return peft's configuration of a method.

    Args:
        method: Name of the method.
        config: Its settings; tuples stand for lists.
        usual: What holds, where the method knows it, unless `config` says otherwise.

    Raises:
        UnsupportedError: the method cannot adapt a trunk, a setting is unknown, or peft refuses or changes one.
    """
    cls, fixed = _class(method)
    known = settings(method)
    unknown = [name for name in config if name not in known]
    if unknown:
        raise UnsupportedError(f"peft's {method} has no setting {unknown[0]!r} here: its settings are "
                               f"{', '.join(known)}")
    asked = {name: list(value) if isinstance(value, tuple) else value for name, value in config.items()}
    for name, value in asked.items():
        _check(method, name, value, known[name])
    names = {field.name for field in fields(cls)}
    given = {**{name: value for name, value in usual.items() if name in names}, **_PRESET.get(method, {}), **asked,
             **fixed}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)  # by which peft says that it takes something else
            return cls(**given)
    except (TypeError, ValueError, UserWarning) as error:
        raise UnsupportedError(f"peft's {method} refuses {asked!r}: {' '.join(str(error).split())}") from error


def settings(method: str) -> dict[str, Any]:
    """Return the names of what a method can be told, each with its type.

    Raises:
        UnsupportedError: there is no such method.
    """
    from peft import PeftConfig

    cls, fixed = _class(method)
    not_these = {*_NOT_SETTINGS, *fixed, *(field.name for field in fields(PeftConfig))}
    hints = get_type_hints(cls)
    return {field.name: hints[field.name] for field in fields(cls)
            if field.name not in not_these and not field.name.startswith(_NOT_BEGINNINGS)
            and _can_be_written(hints[field.name])}


def _class(method: str) -> tuple[Any, dict[str, Any]]:
    """Return a method's configuration class and the settings that make it this method."""
    import peft
    from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

    classes = {kind.value.lower().replace("_", "-"): cls for kind, cls in PEFT_TYPE_TO_CONFIG_MAPPING.items()}
    name, fixed = _VARIANTS.get(method, (method, {}))
    if name in classes and "target_modules" in {field.name for field in fields(classes[name])}:
        return classes[name], fixed
    if name in classes:
        raise UnsupportedError(f"peft's {method} cannot be told which layers it adapts, so it is no adapter of a trunk")
    usable = sorted((ANYWHERE | LINEAR | {*classes}) - {*REFUSED})
    near = difflib.get_close_matches(method, usable, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"use one of {', '.join(usable)}"
    raise UnsupportedError(f"peft {peft.__version__} has no method {method!r}: {hint}")


def _can_be_written(hint: Any) -> bool:
    """Return whether a type has values that a specification can hold: numbers, words, lists of them."""
    if get_origin(hint) in (Union, types.UnionType):
        return any(map(_can_be_written, get_args(hint)))
    return (hint in (bool, int, float, str) or get_origin(hint) in (Literal, list)
            or (isinstance(hint, type) and issubclass(hint, Enum)))


def _check(method: str, name: str, value: Any, hint: Any) -> None:
    from pydantic import ConfigDict, TypeAdapter, ValidationError

    adapter = TypeAdapter(hint, config=ConfigDict(strict=True, allow_inf_nan=False, arbitrary_types_allowed=True))
    try:
        adapter.validate_python(value)
    except ValidationError as error:
        wants = " or ".join(dict.fromkeys(one["msg"].removeprefix("Input should be ") for one in error.errors()))
        raise UnsupportedError(f"setting {name!r} of peft's {method} is {value!r}: give {wants}") from None
