"""Every method that the library registers is trained, with what is frozen left as it was, or refused with a reason."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
import tlbench_plugins
import torch
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
from torch import nn
from transformers import GPT2Config, GPT2Model, LlamaConfig, LlamaModel, MPNetConfig, MPNetModel

from tlbench import Setup, UnsupportedError, UserError, peft_methods, specs
from tlbench.canonical import canonical_json
from tlbench.cells import Shop, run_cell
from tlbench.engine import optimizer
from tlbench.engine.adapters import add_adapter
from tlbench.engine.machine import Machine
from tlbench.grid import Cell
from tlbench.peft_methods import ANYWHERE, LINEAR, REFUSED, UNMERGED
from tlbench.planning import Plan
from tlbench.registry import Registry
from tlbench.setups import Peft, Recipe

METHODS = sorted(ANYWHERE | LINEAR)
PUBLISHED = ("dora", "rslora", "ia3", "loha", "lokr", "oft", "vera", "ln-tuning")
SMALL = {"c3a": "block_size:16", "miss": "r:8", "road": "group_size:16", "shira": "r:4", "vblora": "vector_length:16",
         "waveft": "n_frequency:60"}
"""Settings of methods whose defaults are too large for matrices of 32 x 32."""
CPU = torch.device("cpu")


def named(method: str) -> str:
    return f"peft(method={method},settings={SMALL.get(method, '')})"


def adapter(method: str) -> Peft:
    name, _, value = SMALL.get(method, "").partition(":")
    return Peft(method, {name: int(value)} if name else {})


def of_peft() -> set[str]:
    """Return the names that the library registers, as tlbench writes them."""
    return {kind.value.lower().replace("_", "-") for kind in PEFT_TYPE_TO_CONFIG_MAPPING}


def refused(text: str, registry: Registry) -> str:
    with pytest.raises(UserError) as caught:
        specs.parse_strategy(text, registry)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- names ----------------------------------------------------------------------------------------------------------


def test_every_registered_method_is_trained_or_refused() -> None:
    assert len(of_peft()) > 40
    assert ANYWHERE | LINEAR | {*REFUSED} == of_peft() | {"dora", "rslora"}
    assert len(ANYWHERE) + len(LINEAR) + len(REFUSED) == len(of_peft()) + 2  # each stands in one table


def test_docstring_names_every_method_that_is_trained(registry: Registry) -> None:
    text = str(registry.strategy("peft").__doc__)
    assert [name for name in METHODS if f"`{name}`" not in text] == []
    assert f"vera and {len(METHODS) - 7} others" in registry.strategy("peft").summary


@pytest.mark.parametrize("method", sorted(REFUSED))
def test_refused_method_has_a_reason(method: str, registry: Registry) -> None:
    assert f"peft's {method} {REFUSED[method]}" in refused(f"peft(method={method})", registry)
    with pytest.raises(UnsupportedError, match=f"peft's {method} "):
        add_adapter(nn.Linear(2, 2), Peft(method), "bert", 1)


def test_unknown_method_is_answered_with_the_known_ones(registry: Registry) -> None:
    assert "has no method 'ln_tuning': did you mean 'ln-tuning'?" in refused("peft(method=ln_tuning)", registry)
    message = refused("peft(method=zzz)", registry)
    assert all(f"{name}, " in message for name in METHODS[:-1])
    assert not any(f" {name}," in message for name in REFUSED)


def test_method_that_no_table_has_is_looked_up_in_the_library(
    registry: Registry, monkeypatch: pytest.MonkeyPatch, machine_of: Callable[..., Machine]
) -> None:
    monkeypatch.setattr(peft_methods, "LINEAR", frozenset())
    monkeypatch.setattr(peft_methods, "REFUSED", {})
    assert specs.parse_strategy("peft(method=hra)", registry)
    assert machine_of("text-classification", "encoder", Setup(adapters=(Peft("hra"),))).adapters
    for method in ("prompt-tuning", "p-tuning", "prefix-tuning", "cpt", "cartridge", "xlora"):
        assert f"peft's {method} cannot be told which layers it adapts" in refused(f"peft(method={method})", registry)


# --- training -------------------------------------------------------------------------------------------------------


def trained(machine: Machine, examples: Any, bf16: bool) -> dict[str, torch.Tensor]:
    """Take three optimizer steps, and return the weights from before."""
    before = {name: p.detach().clone() for name, p in machine.named_parameters()}
    machine.form = machine.form.fitted(examples)
    batch = machine.form.encode(examples).batch(range(len(examples)), CPU)
    machine.release("adapters")
    steps = optimizer.build(machine.trunk, machine.head, Recipe(learning_rate=1e-2, head_learning_rate=1e-2))
    for _ in range(3):
        machine.train()
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = machine(batch) / len(examples)
        assert torch.isfinite(loss)
        loss.backward()
        steps.step()
        steps.zero_grad()
    return before


def assert_only_added_modules_and_head_moved(machine: Machine, before: dict[str, torch.Tensor]) -> None:
    moved = {name for name, p in machine.named_parameters() if not torch.equal(p, before[name])}
    added = {f"trunk.{name}" for name in machine.adapters}
    head = {"head.weight", "head.bias"} if machine.head else set()
    still = (added | head) - moved
    assert moved <= added | head
    assert moved & added
    assert head <= moved
    assert all(".glora_D." in name for name in still)  # they scale the layers' biases, which are 0 here


@pytest.mark.parametrize(("kind", "family", "bf16", "method"), [
    *[("token-classification", "encoder", False, method) for method in METHODS],
    *[("text-generation", "encoder-decoder", True, method) for method in METHODS],
    *[("text-classification", "decoder", False, method) for method in METHODS if method in ANYWHERE],
])
def test_method_moves_what_it_adds_and_the_head_and_nothing_else(
    kind: str, family: str, bf16: bool, method: str, machine_of: Callable[..., Machine], toys: ModuleType
) -> None:
    plain = dict(machine_of(kind, family).named_parameters())
    machine = machine_of(kind, family, Setup(adapters=(adapter(method),)))
    before = trained(machine, toys.examples(toys.KINDS[kind], 8), bf16)
    assert_only_added_modules_and_head_moved(machine, before)
    kept = {name.replace("base_model.model.", "").replace("base_layer.", ""): p
            for name, p in machine.named_parameters()}
    assert [name for name, p in plain.items() if name.startswith("trunk.") and not torch.equal(p, kept[name])] == []


@pytest.mark.parametrize("method", METHODS)
def test_modules_follow_their_seed_and_merge_into_what_is_recorded(
    method: str, machine_of: Callable[..., Machine]
) -> None:
    made: list[Any] = []
    for seed in (1, 2):  # of the global stream, which must neither decide nor move
        torch.manual_seed(seed)
        trunk = machine_of("text-classification", "encoder-decoder").trunk
        state = torch.get_rng_state()
        made.append(add_adapter(trunk, adapter(method), "t5", 7))
        assert torch.equal(state, torch.get_rng_state())
    for mine, theirs in zip(*(each.state_dict().items() for each in made), strict=True):
        assert mine[0] == theirs[0]
        assert torch.equal(mine[1], theirs[1])
    machine = machine_of("text-classification", "encoder-decoder", Setup(adapters=(adapter(method),)))
    assert ("params_merged" in machine.sizes) == (method not in UNMERGED)
    if method not in UNMERGED:
        assert machine.head is not None
        whole = [*made[0].merge_and_unload().parameters(), *machine.head.parameters()]
        assert machine.sizes["params_merged"] == sum(p.numel() for p in whole)


@pytest.mark.parametrize(("kind", "family", "method"), [
    ("text-classification", "encoder", "boft"), ("question-answering", "encoder-decoder", "osf"),
    ("text-generation", "encoder-decoder", "pvera"), ("text-regression", "decoder", "waveft"),
])
def test_cell_of_a_method_runs_and_repeats(
    kind: str, family: str, method: str, cell_of: Callable[..., Cell], shop: Shop
) -> None:
    cell = cell_of(kind, family, f"{named(method)}+short")
    first, again = run_cell(cell, shop), run_cell(cell, shop)
    assert first.facts["status"] in ("ok", "collapsed"), first.facts["reason"]
    assert first.facts["training"]["curve"] == again.facts["training"]["curve"]
    assert first.predictions.equals(again.predictions)


# --- layers ---------------------------------------------------------------------------------------------------------


TINY = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32, "vocab_size": 50}


def gpt2() -> nn.Module:
    return GPT2Model(GPT2Config(n_embd=32, n_layer=1, n_head=2, vocab_size=50, bos_token_id=0, eos_token_id=0))


@pytest.mark.parametrize("method", sorted(LINEAR))
def test_methods_of_linear_layers_are_refused_on_gpt2_before_launch_as_the_library_does(
    method: str, plan_of: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    (reason,) = plan_of("text-classification", "decoder", f"{named(method)}+short").unsupported.values()
    assert reason == f"peft's {method} needs linear layers, which 'gpt2' does not have: take lora or ia3"
    monkeypatch.setattr(peft_methods, "TRANSPOSED", frozenset())
    with pytest.raises(UnsupportedError, match=r"refuses architecture 'gpt2'.*Conv1D|it finds no layer to adapt"):
        add_adapter(gpt2(), adapter(method), "gpt2", 1)


def test_architectures_that_no_table_here_has_take_those_of_the_library() -> None:
    trunk: Any = add_adapter(LlamaModel(LlamaConfig(**TINY)), Peft("loha"), "llama", 1)
    assert trunk.targeted_module_names == [f"layers.0.self_attn.{name}_proj" for name in "qv"]


def test_architectures_that_nobody_knows_are_refused_unless_the_layers_are_named() -> None:
    config = MPNetConfig(**TINY)
    with pytest.raises(UnsupportedError, match=r"'loha' refuses architecture 'mpnet'.*target_modules.*settings: r,"):
        add_adapter(MPNetModel(config), Peft("loha"), "mpnet", 1)
    trunk: Any = add_adapter(MPNetModel(config), Peft("loha", {"target_modules": ("attn.q", "attn.v")}), "mpnet", 1)
    assert trunk.targeted_module_names == [f"encoder.layer.0.attention.attn.{name}" for name in "qv"]
    with pytest.raises(UnsupportedError, match="IA3 is not known for architecture 'mpnet'"):
        add_adapter(MPNetModel(config), Peft("ia3"), "mpnet", 1)
    assert add_adapter(MPNetModel(config), Peft("ia3", {"target_modules": "all-linear"}), "mpnet", 1)


@pytest.mark.parametrize(("made", "message"), [
    (Peft("c3a"), "block size should be a factor"),
    (Peft("oft", {"oft_block_size": 24}), "Adjusted `oft_block_size`"),  # refused, not altered in silence
    (Peft("loha", {"target_modules": ("nowhere",)}), "nowhere"),
])
def test_settings_that_do_not_fit_the_model_are_refused(
    made: Peft, message: str, machine_of: Callable[..., Machine]
) -> None:
    with pytest.raises(UnsupportedError) as caught:
        machine_of("text-classification", "encoder", Setup(adapters=(made,)))
    assert message in str(caught.value)
    assert "its settings: " in str(caught.value)


# --- settings -------------------------------------------------------------------------------------------------------


def test_settings_reach_the_library(cell_of: Callable[..., Cell], machine_of: Callable[..., Machine]) -> None:
    text = "peft(method=loha,settings=r:3;alpha:6;target_modules:('query','key');init_weights:true)"
    setup = cell_of("text-classification", "encoder", text).condition.setup
    assert setup.adapters == (Peft("loha", {"r": 3, "alpha": 6, "target_modules": ("query", "key"),
                                            "init_weights": True}),)
    trunk: Any = machine_of("text-classification", "encoder", setup).trunk
    config = trunk.peft_config["default"]
    assert (config.r, config.alpha, config.target_modules) == (3, 6, {"query", "key"})
    assert {module.shape[0] for name, module in trunk.named_parameters() if "hada_w1_b" in name} == {3}


def test_defaults_leave_no_trace_in_a_setup_or_a_key(registry: Registry) -> None:
    for method in PUBLISHED:
        assert canonical_json(Peft(method)) == f'{{"config":{{}},"method":"{method}","type":"Peft"}}'
        (part,) = specs.parse_strategy(f"peft(method={method})", registry)
        assert specs.strategy_ref((part,), registry).parts[0].config == {"method": method, "rate": 0.0}
    (part,) = specs.parse_strategy("peft(method=loha,settings=r:3)", registry)
    assert specs.strategy_ref((part,), registry).parts[0].config["settings"] == "r:3"
    assert specs.label(specs.parse_strategy(specs.label((part,)), registry)) == "peft(method=loha,settings=r:3)"


@pytest.mark.parametrize(("method", "given", "message"), [
    ("loha", "r", "write name:value, each once, separated by ';'"),
    ("loha", "r:1;r:2", "write name:value, each once"),
    ("loha", "r:x", "setting 'r' of peft's loha is 'x': give a valid integer"),
    ("loha", "r:1.5", "setting 'r' of peft's loha is 1.5"),
    ("lora", "lora_dropout:1e999", "is inf: give a finite number"),
    ("gralora", "alpha:true", "setting 'alpha' of peft's gralora is True"),
    ("road", "variant:road_9", "peft's road refuses {'variant': 'road_9'}: Invalid variant"),
    ("lora", "init_lora_weights:eva", "`eva_config` is not specified"),  # else it would start as plain LoRA does
    ("lora", "init_lora_weights:nonsense", "setting 'init_lora_weights' of peft's lora is 'nonsense'"),
    ("oft", "r:4", "peft's oft refuses {'r': 4}"),  # beside a block size, which stands there by default
])
def test_bad_settings_are_refused_before_anything_runs(
    method: str, given: str, message: str, registry: Registry
) -> None:
    assert message in refused(f"peft(method={method},settings={given})", registry)


@pytest.mark.parametrize(("method", "given"), [
    ("loha", "rank:4"), ("loha", "lora_alpha:4"), ("ia3", "r:4"), ("lora", "modules_to_save:('pooler',)"),
    ("lora", "task_type:SEQ_CLS"), ("dora", "use_dora:false"), ("adamss", "use_asa:true"),
    ("boft", "boft_n_butterfly_factor:2"), ("vera", "save_projection:false"), ("lora", "layer_replication:((0,1),)"),
])
def test_unknown_setting_is_answered_with_the_known_ones(method: str, given: str, registry: Registry) -> None:
    known = list(peft_methods.settings(method))
    assert "target_modules" in known
    message = refused(f"peft(method={method},settings={given})", registry)
    name = given.partition(":")[0]
    assert message.endswith(f"peft's {method} has no setting {name!r} here: its settings are {', '.join(known)}")


@pytest.mark.parametrize("method", METHODS)
def test_every_default_can_be_written_as_a_setting(method: str, registry: Registry) -> None:
    """A method's own defaults pass its own check, so that none is refused for how its type is written."""
    known = peft_methods.settings(method)
    default = peft_methods.configured(method, {}, {"target_modules": ["any"]})
    plain = {name: getattr(default, name) for name in known if name != "target_modules"}
    plain = {name: value for name, value in plain.items() if isinstance(value, bool | int | float | str)}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert peft_methods.fault(method, plain) is None
    assert plain or method in ("ia3", "ln-tuning")


def test_strategies_of_others_may_use_any_method() -> None:
    assert Peft("hra", {"r": 4}).fault("bert") is None
    assert "has no setting 'rank'" in str(Peft("hra", {"rank": 4}).fault())
    assert [cls.name for cls in tlbench_plugins.tlbench_strategies()].count("peft") == 1
