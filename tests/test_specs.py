"""Strategy specifications: parsing, composing, refusing, and what becomes data."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import tlbench_plugins

from tlbench import Offer, Setup, UserError, registry, specs
from tlbench.canonical import canonical_json, plain
from tlbench.model import Architecture
from tlbench.registry import Registry
from tlbench.setups import Lora, Plateau, Pretraining, Random

BERT = Architecture("encoder", "bert", {})
PROBE = """
from dataclasses import dataclass, replace
from tlbench import Strategy

@dataclass(frozen=True)
class Probe(Strategy):
    names: tuple = ("a", "b")
    flag: bool = False
    choice: str = "one"
    maybe: object = None
    name = "probe"
    external_data = "unlabeled"

    def __post_init__(self):
        if self.choice not in ("one", "two"):
            raise ValueError("choice is one or two")

    def prepare(self, setup, offer):
        return setup
"""


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    path: Path = tmp_path_factory.mktemp("specs") / "probe.py"
    path.write_text(PROBE, encoding="utf-8")
    return registry.load([path])


def refused(text: str, shelf: Registry) -> str:
    with pytest.raises(UserError) as caught:
        specs.parse_strategy(text, shelf)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(("text", "separator", "expected"), [
    ("a,b", ",", ["a", "b"]),
    ("a(x=1,y=(2,3)),b+c", ",", ["a(x=1,y=(2,3))", "b+c"]),
    ("a(x=1+2)+b", "+", ["a(x=1+2)", "b"]),
    (" a , ,b,", ",", ["a", "b"]),
    ("", ",", []),
])
def test_split_leaves_parentheses_whole(text: str, separator: str, expected: list[str]) -> None:
    assert specs.split_outside(text, separator) == expected


@pytest.mark.parametrize(("text", "label"), [
    ("finetune", "finetune"),
    (" lora ", "lora"),
    ("lora()", "lora"),
    ("lora(rank=8)", "lora"),
    ("lora(rank=4, alpha=8)", "lora(rank=4,alpha=8.0)"),
    ("lora(targets='query-value')", "lora(targets=query-value)"),
    ("lora(targets=query-value)", "lora(targets=query-value)"),
    ("probe(names=('x',),flag=True)", "probe(names=('x',),flag=True)"),
    ("probe(flag=true)", "probe(flag=True)"),
    ("probe(maybe=3)", "probe(maybe=3)"),
    ("probe+lora(rank=2)", "probe+lora(rank=2)"),
])
def test_specification_is_parsed_and_labelled(text: str, label: str, shelf: Registry) -> None:
    parts = specs.parse_strategy(text, shelf)
    assert specs.label(parts) == label
    assert specs.label(specs.parse_strategy(label, shelf)) == label


def test_equal_specifications_are_equal_data(shelf: Registry) -> None:
    same = ("lora", "lora(rank=8)", "lora( )")
    refs = [specs.strategy_ref(specs.parse_strategy(text, shelf), shelf) for text in same]
    assert len({canonical_json(ref) for ref in refs}) == 1
    other = specs.strategy_ref(specs.parse_strategy("lora(rank=4)", shelf), shelf)
    assert canonical_json(other) != canonical_json(refs[0])


@pytest.mark.parametrize(("text", "expected"), [
    ("", "is empty: name one, for example 'finetune'"),
    ("+", "is empty"),
    ("fintune", "strategy 'fintune' is not known: did you mean 'finetune'"),
    ("lora(rank=4", "is malformed: write name or name(field=value)"),
    ("lora rank=4", "is malformed"),
    ("lora(rnk=4)", "strategy 'lora' has no field 'rnk': did you mean 'rank'?"),
    ("lora(4)", "strategy 'lora' has no field '4': its fields are rank, alpha, dropout, targets, rate"),
    ("finetune(rate=1)", "strategy 'finetune' has no field 'rate': its fields are layer_decay"),
    ("lora(rank=four)", "field 'rank' is 'four', but it takes a int"),
    ("lora(rank=4.5)", "field 'rank' is 4.5, but it takes a int"),
    ("lora(rank=True)", "field 'rank' is True, but it takes a int"),
    ("probe(flag=yes)", "field 'flag' is 'yes', but it takes a bool"),
    ("lora(targets=query)", "field 'targets' is 'query', but it takes one of query-value, all-linear"),
    ("peft(method=rs-lora)", "has no method 'rs-lora': did you mean 'rslora'?"),
    ("feature-extraction(layers=0)", "layers must be 1 or more"),
    ("gradual-unfreeze(share=2)", "share is 2.0: give a number above 0 and at most 1"),
    ("intermediate(budget=3)", "budget is 3: give 0 or at least 10 labels"),
    ("intermediate(source=sst2|stsb)", "source names several tasks, 'sst2|stsb': give one, or take multitask"),
    ("scratch(cap=0.5)", "cap must be 1 or more"),
    ("lora(alpha=True)", "field 'alpha' is True, but it takes a float"),
    ("probe(names=a)", "field 'names' is 'a', but it takes a tuple"),
    ("probe(choice=three)", "strategy 'probe' refuses {'choice': 'three'}: choice is one or two"),
])
def test_bad_specification_is_one_sentence(text: str, expected: str, shelf: Registry) -> None:
    assert expected in refused(text, shelf)


def numbers() -> list[tuple[str, str]]:
    """Return every number and every tuple of numbers that a built-in strategy takes, but for seeds and biases."""
    return [
        (cls.name, field.name)
        for cls in tlbench_plugins.tlbench_strategies() for field in dataclasses.fields(cls)
        if field.name not in ("seed", "biases")
        for first in [field.default[0] if isinstance(field.default, tuple) else field.default]
        if isinstance(first, int | float) and not isinstance(first, bool)
    ]


@pytest.mark.parametrize(("strategy", "field"), numbers())
def test_numbers_that_mean_nothing_are_the_users_mistake(strategy: str, field: str, shelf: Registry) -> None:
    default = getattr(shelf.strategy(strategy)(), field)
    wrong = "(-1,)" if isinstance(default, tuple) else "-1"
    assert f"strategy {strategy!r} refuses " in refused(f"{strategy}({field}={wrong})", shelf)
    if not isinstance(default, int):
        endless = "(1e999,)" if isinstance(default, tuple) else "1e999"
        assert "takes a finite number" in refused(f"{strategy}({field}={endless})", shelf)
    if isinstance(default, tuple):
        assert f"strategy {strategy!r} refuses " in refused(f"{strategy}({field}=())", shelf)


@pytest.mark.parametrize(("text", "first", "second", "part"), [
    ("scratch+lora", "scratch", "lora", "recipe"),
    ("lora+feature-extraction", "lora", "feature-extraction", "recipe"),
    ("lora+lora(rank=4)", "lora", "lora", "adapters"),
    ("floor+linear", "floor", "linear", "learner"),
])
def test_two_writers_of_one_part_are_refused(text: str, first: str, second: str, part: str, shelf: Registry) -> None:
    message = refused(text, shelf)
    assert f"cannot be composed: {first!r} and {second!r} both set the {part}, so drop one of them" in message


def test_composition_applies_each_part_in_turn(shelf: Registry) -> None:
    offer = Offer("text-classification", "toy", "encoder", 100)
    plain = specs.resolve(specs.parse_strategy("finetune", shelf), offer, BERT)
    both = specs.resolve(specs.parse_strategy("probe+lora(rank=2)", shelf), offer, BERT)
    assert both.adapters == (Lora(2, 16.0, 0.0, "all-linear"),)
    assert both.phases[0].trainable == "adapters"
    assert both.phases[0].recipe.epochs == plain.phases[0].recipe.epochs
    assert specs.resolve(specs.parse_strategy("lora(rank=2)+probe", shelf), offer, BERT) == both
    scratch = specs.resolve(specs.parse_strategy("scratch(cap=2)", shelf), offer, BERT)
    assert scratch.weights == Random()
    assert scratch.phases[0].stop == Plateau(cap=2.0)


def test_composition_declares_what_its_parts_declare(shelf: Registry) -> None:
    ref = specs.strategy_ref(specs.parse_strategy("probe+scratch", shelf), shelf)
    assert (ref.name, ref.transfers, ref.external_data) == ("probe+scratch", True, "unlabeled")
    assert [part.source is None for part in ref.parts] == [False, True]


def test_unsupported_combinations_say_why(shelf: Registry) -> None:
    offer = Offer("text-generation", "toy", "encoder", 100)
    assert specs.unsupported(specs.parse_strategy("finetune", shelf), offer) == "an encoder alone cannot generate text"
    decoder = Offer("text-generation", "toy", "decoder", 100)
    assert "no encoder" in str(specs.unsupported(specs.parse_strategy("probe+feature-extraction", shelf), decoder))
    assert specs.unsupported(specs.parse_strategy("lora", shelf), decoder) is None


def test_model_free_setup_has_no_phase(shelf: Registry) -> None:
    offer = Offer("text-classification", "toy", None, 100)
    setup: Setup = specs.resolve(specs.parse_strategy("floor", shelf), offer, None)
    assert setup.phases == ()
    assert setup.learner.name == "floor"


def test_rests_are_what_each_part_leaves(shelf: Registry) -> None:
    def labels(text: str) -> list[tuple[str, str]]:
        found = specs.rests(specs.parse_strategy(text, shelf), shelf)
        return [(specs.label([part]), specs.label(rest)) for part, rest in found]

    assert labels("augment+lora(rank=4)") == [("augment", "lora(rank=4)"), ("lora(rank=4)", "augment")]
    assert labels("lora") == [("lora", "finetune")]
    assert labels("finetune") == []


@pytest.mark.parametrize(("text", "nature"), [
    ("finetune", ("neural", False)), ("lora+augment", ("neural", False)), ("tapt", ("neural", False)),
    ("scratch+augment", ("neural", True)), ("self-pretrain", ("neural", True)), ("linear", ("linear", False)),
])
def test_nature_is_what_learns_and_whether_it_starts_at_random(
    shelf: Registry, text: str, nature: tuple[str, bool]
) -> None:
    reading = (Pretraining(), Pretraining())
    offer = Offer("text-classification", "toy", "encoder", 100, reading=reading)
    setup = specs.resolve(specs.parse_strategy(text, shelf), offer, BERT)
    assert specs.nature(plain(setup)) == nature


def test_seed_of_finetuning_redraws_every_stream_and_no_key_without_it(shelf: Registry) -> None:
    from tlbench.grid import Cell, Condition, StrategyRef, TaskRef, stream

    offer = Offer("text-classification", "toy", "encoder", 100, None)
    setups = [specs.resolve(specs.parse_strategy(text, shelf), offer, BERT) for text in
              ("finetune", "finetune(seed=1)")]
    assert '"seed":1,' in canonical_json(setups[1])
    assert canonical_json(setups[0]).count('"seed"') == 0
    task = TaskRef("toy", 1, "text-classification", "accuracy", None, {}, None)
    ref = StrategyRef("x", (), True, "none")
    one, two = (Cell(Condition(task, None, ref, setup, 100), 0) for setup in setups)
    assert all(stream(one, purpose) != stream(two, purpose) for purpose in ("head", "order", "dropout"))


def test_a_strategy_is_composed_with_itself_never(shelf: Registry) -> None:
    with pytest.raises(UserError, match="names 'finetune' twice"):
        specs.parse_strategy("finetune(seed=1)+finetune(seed=2)", shelf)
