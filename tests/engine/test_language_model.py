"""The model that is asked in texts: hand-computed likelihoods, no influence of a batch on its rows, whole cells."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tlbench.cells import Shop, run_cell
from tlbench.engine.families import Source, load_tokenizer, load_trunk
from tlbench.engine.language_model import LanguageModel
from tlbench.engine.place import Place
from tlbench.errors import UnsupportedError
from tlbench.grid import Cell
from tlbench.model import Model
from tlbench.planning import Plan
from tlbench.setups import Pretrained

PROMPTS = ["the ﬁlm often", "étoile", "and very quickly the oﬃce  finds the naïve film", "a"]
ENDINGS = [" rock", " élan", " the office ﬂow", " b"]


def source_of(folder: Path) -> Source:
    model = Model("tiny", str(folder))
    return Source(model, model.architecture(offline=True), True, offline=True)


@pytest.fixture
def model_of(zoo: Callable[..., Path], place: Place) -> Callable[..., LanguageModel]:
    return lambda family, **config: LanguageModel(source_of(zoo(family, **config)), place, "fp32")


def test_likelihood_of_a_decoder_is_that_of_each_next_token(
    model_of: Callable[..., LanguageModel], zoo: Callable[..., Path]
) -> None:
    source = source_of(zoo("decoder"))
    tokenizer, trunk = load_tokenizer(source), load_trunk(source, Pretrained(), 0)
    model: Any = trunk
    for prompt, ending in zip(PROMPTS, ENDINGS, strict=True):
        before, whole = tokenizer(prompt)["input_ids"], tokenizer(prompt + ending)["input_ids"]
        assert whole[: len(before)] == before, "the pre-tokenizer splits in front of the space"
        with torch.no_grad():
            steps = model(input_ids=torch.tensor([whole])).logits[0].log_softmax(-1)
        each = [float(steps[at - 1, whole[at]]) for at in range(len(before), len(whole))]
        found = model_of("decoder").log_likelihood([prompt], [ending])
        assert found == [pytest.approx(sum(each) / len(each), abs=1e-5)]


def test_likelihood_of_an_encoder_decoder_is_that_of_its_decoder_text(
    model_of: Callable[..., LanguageModel], zoo: Callable[..., Path]
) -> None:
    source = source_of(zoo("encoder-decoder"))
    tokenizer = load_tokenizer(source)
    model: Any = load_trunk(source, Pretrained(), 0)
    prompt, ending = PROMPTS[2], ENDINGS[2]
    labels = tokenizer(ending.strip(), add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        steps = model(input_ids=torch.tensor([tokenizer(prompt)["input_ids"]]),
                      decoder_input_ids=torch.tensor([[0, *labels[:-1]]])).logits[0].log_softmax(-1)
    each = [float(steps[at, token]) for at, token in enumerate(labels)]
    assert len(each) > 2
    found = model_of("encoder-decoder").log_likelihood([prompt], [ending])
    assert found == [pytest.approx(sum(each) / len(each), abs=1e-5)]


def test_a_gap_is_filled_behind_its_mark(
    model_of: Callable[..., LanguageModel], zoo: Callable[..., Path]
) -> None:
    source = source_of(zoo("encoder-decoder", initializer_factor=6.0))
    tokenizer, found = load_tokenizer(source), model_of("encoder-decoder", initializer_factor=6.0)
    model: Any = load_trunk(source, Pretrained(), 0)
    assert found.gap == "<extra_id_0>"
    mark, next_mark = tokenizer.convert_tokens_to_ids(["<extra_id_0>", "<extra_id_1>"])
    prompts = [f"{prompt} {found.gap}" for prompt in PROMPTS]
    before = [tokenizer(prompt)["input_ids"] for prompt in prompts]
    assert all(ids[-2:] == [mark, tokenizer.eos_token_id] for ids in before)
    expected = []
    for ids, ending in zip(before, ENDINGS, strict=True):
        labels = tokenizer(ending.strip(), add_special_tokens=False)["input_ids"]
        with torch.no_grad():
            steps = model(input_ids=torch.tensor([ids]),
                          decoder_input_ids=torch.tensor([[0, mark, *labels[:-1]]])).logits[0, 1:].log_softmax(-1)
        expected.append(sum(float(steps[at, token]) for at, token in enumerate(labels)) / len(labels))
    assert found.log_likelihood(prompts, ENDINGS) == pytest.approx(expected, abs=1e-4)
    assert found.log_likelihood(PROMPTS, ENDINGS) != pytest.approx(expected, abs=1e-2)
    texts = []
    for ids in before:
        written = [0, mark]
        with torch.no_grad():
            while len(written) < 8 and written[-1] not in (next_mark, tokenizer.eos_token_id):
                logits = model(input_ids=torch.tensor([ids]), decoder_input_ids=torch.tensor([written])).logits
                written.append(int(logits[0, -1].argmax()))
        texts.append(tokenizer.decode(written, skip_special_tokens=True).strip())
    assert any(texts)
    assert found.generate(prompts, 6, "\n") == [text.partition("\n")[0].strip() for text in texts]


def test_the_next_sentinel_ends_what_fills_a_gap(
    model_of: Callable[..., LanguageModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = model_of("encoder-decoder", initializer_factor=6.0)
    prompt = f"{PROMPTS[2]} {model.gap}"
    (whole,) = model.generate([prompt], 6, "\n")
    third = model.tokenizer(whole, add_special_tokens=False)["input_ids"][2]
    monkeypatch.setattr(model, "sentinels", [model.sentinels[0], third])  # as if what it writes were the next sentinel
    (cut,) = model.generate([prompt], 6, "\n")
    assert whole.startswith(cut)
    assert 0 < len(cut) < len(whole)


@pytest.mark.parametrize(("family", "config"), [("decoder", {}), ("encoder-decoder", {"initializer_factor": 6.0})])
def test_a_batch_does_not_change_its_rows(
    family: str, config: dict[str, Any], model_of: Callable[..., LanguageModel]
) -> None:
    model = model_of(family, **config)  # at the usual scale a random T5 writes padding only
    together = model.log_likelihood(PROMPTS, ENDINGS)
    alone = [model.log_likelihood([p], [e])[0] for p, e in zip(PROMPTS, ENDINGS, strict=True)]
    assert together == pytest.approx(alone, rel=1e-5)
    assert len(set(together)) == 4
    written = model.generate(PROMPTS, 6, "\n")
    assert written == [model.generate([prompt], 6, "\n")[0] for prompt in PROMPTS]
    assert any(written)


@pytest.mark.parametrize("family", ["decoder", "encoder-decoder"])
def test_a_prompt_that_continuations_share_is_read_once(family: str, model_of: Callable[..., LanguageModel]) -> None:
    model = model_of(family)
    pairs = [(prompt, ending) for prompt in PROMPTS[:3] for ending in (*ENDINGS, " the film the film often quickly")]
    shared = model.log_likelihood(*zip(*pairs, strict=True))
    seen = model.tokens_seen
    alone = [model.log_likelihood([prompt], [ending])[0] for prompt, ending in pairs]
    assert shared == pytest.approx(alone, rel=1e-5)
    assert seen < 0.7 * (model.tokens_seen - seen)
    long = "often " * 100
    few = model.log_likelihood([long, long, "a", "a"], [*ENDINGS[:2], ENDINGS[0], " film film film film film"])
    assert few[:2] == pytest.approx(
        [model.log_likelihood([long], [ending])[0] for ending in ENDINGS[:2]], rel=1e-5)


def test_generation_ends_at_the_stop_text(model_of: Callable[..., LanguageModel]) -> None:
    model = model_of("decoder")
    (whole,) = model.generate(PROMPTS[:1], 12, "\n")
    stop = whole[3]
    (cut,) = model.generate(PROMPTS[:1], 12, stop)
    assert cut == whole.partition(stop)[0].strip()
    seen = model.tokens_seen
    assert model.generate(PROMPTS[:1], 12, whole[0]) == [""]
    assert model.tokens_seen - seen < len(load_tokenizer(source_of(Path(model.trunk.name_or_path)))(PROMPTS[0])[
        "input_ids"]) + 12, "it went on behind the stop text"


def test_prompts_that_are_too_long_lose_their_beginning(model_of: Callable[..., LanguageModel]) -> None:
    model = model_of("decoder")
    assert model.positions == 64
    long = "often " * 100
    assert model.count([long, ""]) == [model.count([long])[0], 1]
    assert model.log_likelihood([long + PROMPTS[0]], [ENDINGS[0]])[0] < 0
    assert isinstance(model.generate([long + PROMPTS[0]], 4, "\n")[0], str)
    assert model.log_likelihood(["a"], [""]) == [float("-inf")]
    assert model.log_likelihood([], []) == []


def test_an_encoder_is_refused(zoo: Callable[..., Path], place: Place) -> None:
    with pytest.raises(UnsupportedError, match="cannot be prompted"):
        LanguageModel(source_of(zoo("encoder")), place, "fp32")


@pytest.mark.parametrize(("family", "more"), [
    ("decoder", ""), ("encoder-decoder", ""), ("encoder-decoder", ",infill=true"),
])
@pytest.mark.parametrize("kind", [
    "text-classification", "text-regression", "token-classification", "question-answering", "text-generation",
])
def test_prompted_cell_runs_and_repeats(
    kind: str, family: str, more: str, cell_of: Callable[..., Cell], shop: Shop
) -> None:
    cell = cell_of(kind, family, f"prompt(shots=2,max_tokens=8,max_length=60{more})")
    first, second = run_cell(cell, shop), run_cell(cell, shop)
    assert first.facts["status"] in ("ok", "collapsed"), first.facts["reason"]
    assert first.facts["numerics"]["class"] != "none"
    assert first.facts["model"]["params_trainable"] == 0
    assert first.facts["model"]["params_total"] > 0
    assert first.facts["cost"]["flops"] > 0
    facts = first.facts["training"]["fit"]
    assert facts["shots"] == 2
    assert facts["prompts"] == 25 + first.facts["budget"]["validation"]
    assert facts["prompts_with_fewer_shots"] >= facts["prompts_with_cut_text"]
    assert first.predictions["prediction"].tolist() == second.predictions["prediction"].tolist()


def test_a_model_that_always_says_the_same_has_collapsed(cell_of: Callable[..., Cell], shop: Shop) -> None:
    outcome = run_cell(cell_of("token-classification", "decoder", "prompt(shots=0,max_tokens=8)"), shop)
    assert outcome.facts["status"] == "collapsed"
    assert "no entity for 25 of 25" in outcome.facts["reason"]


def test_prompting_is_unsupported_for_encoders_and_without_a_template(
    plan_of: Callable[..., Plan], shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_of("text-classification", "encoder", "prompt")
    assert "cannot be prompted" in plan.unsupported[plan.cells[0].key]
    before = plan_of("text-classification", "decoder", "prompt").cells[0]
    monkeypatch.setattr(type(shop.registry.task("toy-topic")), "template", "{text} is about")
    assert plan_of("text-classification", "decoder", "prompt").cells[0].key != before.key
    monkeypatch.setattr(type(shop.registry.task("toy-topic")), "template", "{txt}")
    plan = plan_of("text-classification", "decoder", "prompt")
    assert "names {txt}" in plan.unsupported[plan.cells[0].key]
    monkeypatch.setattr(type(shop.registry.task("toy-topic")), "template", None)
    plan = plan_of("text-classification", "decoder", "prompt")
    assert "'toy-topic' has no template" in plan.unsupported[plan.cells[0].key]


@pytest.mark.parametrize("strategy", ["finetune", "floor"])
def test_a_template_changes_no_other_key(
    strategy: str, plan_of: Callable[..., Plan], shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = plan_of("text-classification", "decoder", strategy).cells[0].key
    monkeypatch.setattr(type(shop.registry.task("toy-topic")), "template", None)
    assert plan_of("text-classification", "decoder", strategy).cells[0].key == before


def test_an_edited_recipe_changes_no_prompted_key(cell_of: Callable[..., Cell]) -> None:
    setup = cell_of("text-classification", "decoder", "prompt").condition.setup
    assert setup.phases == ()
    assert setup.learner.config["template"] == "Text: {text}\nTopic:"
