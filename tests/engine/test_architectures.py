"""Architectures of the Hub, as tiny random models: they run, and decode from where they were trained to start."""

from __future__ import annotations

import importlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import transformers
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
from safetensors.torch import load_file, save_file

from tlbench.cells import Shop, run_cell
from tlbench.engine import machine, reading
from tlbench.engine.families import Source, decoder_inputs, load_language_model, load_trunk
from tlbench.engine.layers import layer_groups, stacks
from tlbench.engine.pretraining import stage
from tlbench.errors import UserError
from tlbench.grid import Cell
from tlbench.model import Model
from tlbench.planning import Plan, Request, make_plan
from tlbench.references import model_named
from tlbench.setups import Pretrained, Random

TINY = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64, "vocab_size": 400}
STACKED = {"d_model": 32, "encoder_layers": 4, "decoder_layers": 3, "encoder_attention_heads": 2,
           "decoder_attention_heads": 2, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "vocab_size": 400,
           "max_position_embeddings": 128, "pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 2,
           "forced_eos_token_id": None}
CAUSAL = {**TINY, "num_key_value_heads": 1, "head_dim": 16, "eos_token_id": 0, "bos_token_id": 0, "pad_token_id": 0}
ARCHITECTURES: dict[str, tuple[str, dict[str, Any]]] = {
    "AlbertModel": ("encoder", {**TINY, "embedding_size": 16}),
    "DebertaV2Model": ("encoder", {**TINY, "relative_attention": True, "pos_att_type": ["p2c", "c2p"]}),
    "DistilBertModel": ("encoder", {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64, "vocab_size": 400}),
    "ElectraModel": ("encoder", {**TINY, "embedding_size": 16}),
    "MPNetModel": ("encoder", TINY),
    "ModernBertModel": ("encoder", {**TINY, "pad_token_id": 0}),
    "XLMRobertaModel": ("encoder", {**TINY, "pad_token_id": 0}),
    "GPTNeoXForCausalLM": ("decoder", {**TINY, "tie_word_embeddings": False}),
    "Gemma2ForCausalLM": ("decoder", CAUSAL),
    "LlamaForCausalLM": ("decoder", CAUSAL),
    "Qwen3ForCausalLM": ("decoder", CAUSAL),
    "BartForConditionalGeneration": ("encoder-decoder", {**STACKED, "decoder_start_token_id": 1}),
    "M2M100ForConditionalGeneration": ("encoder-decoder", {**STACKED, "decoder_start_token_id": 1}),
    "MBartForConditionalGeneration": ("encoder-decoder", STACKED),
    "MarianMTModel": ("encoder-decoder", {**STACKED, "decoder_vocab_size": 400, "decoder_start_token_id": 0}),
}
Make = Callable[[str], Path]


@pytest.fixture(scope="module")
def made(toys: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Return a function that gives the folder of a tiny model of an architecture; each is made once."""
    root = tmp_path_factory.mktemp("architectures")

    def folder(name: str) -> Path:
        path = root / name.lower()
        if not path.is_dir():
            family, fields = ARCHITECTURES[name]
            cls: Any = getattr(transformers, name)
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                cls(cls.config_class(**fields)).save_pretrained(path)
            toys.tokenizer(family).save_pretrained(path)
        return path

    return folder


@pytest.fixture
def plan(shop: Shop, toys: ModuleType) -> Callable[..., Plan]:
    """Return a function from kind, folder and strategy to the plan of one replicate."""
    return lambda kind, folder, strategy: make_plan(
        Request((toys.KINDS[kind],), (strategy,), (str(folder),), replicates=1), shop.registry, shop.source)


def trunk_of(folder: Path, generates: bool, weights: Any = None) -> Any:
    model = Model("tiny", str(folder))
    source = Source(model, model.architecture(offline=True), generates, offline=True)
    return load_trunk(source, weights or Pretrained(), 0)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_architecture_runs(name: str, made: Make, plan: Callable[..., Plan], shop: Shop) -> None:
    kind = "text-classification" if ARCHITECTURES[name][0] == "encoder" else "text-generation"
    for strategy in ("finetune", "scratch"):
        facts = run_cell(plan(kind, made(name), f"{strategy}+short").cells[0], shop).facts
        assert facts["status"] in ("ok", "collapsed"), facts["reason"]


@pytest.mark.parametrize("name", [name for name, (family, _) in ARCHITECTURES.items() if family == "encoder-decoder"])
def test_decoding_starts_as_training_does(name: str, made: Make) -> None:
    trunk = trunk_of(made(name), generates=True)
    labels = torch.tensor([[5, 6, 1], [7, 1, -100]])
    inputs = decoder_inputs(trunk, labels)
    assert inputs[:, 0].tolist() == [trunk.generation_config.decoder_start_token_id] * 2
    assert inputs[0, 1:].tolist() == [5, 6]
    assert int(inputs.min()) >= 0


@pytest.mark.parametrize("name", [name for name, (family, _) in ARCHITECTURES.items() if family == "encoder-decoder"])
def test_small_twin_is_small_in_both_stacks(name: str, made: Make) -> None:
    whole, small = trunk_of(made(name), True), trunk_of(made(name), True, Random(layers=2))
    assert [len(whole.get_submodule(stack)) for stack in stacks(whole)] == [4, 3]
    assert [len(small.get_submodule(stack)) for stack in stacks(small)] == [2, 2]
    assert len(layer_groups(whole)) in (8, 9)


def test_embeddings_of_any_name_are_the_bottom_group(made: Make) -> None:
    trunk = trunk_of(made("GPTNeoXForCausalLM"), generates=True)
    assert {name.rpartition(".")[0].rpartition(".")[2] for name in layer_groups(trunk)[0]} == {"embed_in", "lm_head"}


def test_what_reads_further_starts_from_no_missing_block_either(zoo: Callable[..., Path], tmp_path: Path) -> None:
    folder = tmp_path / "part"
    shutil.copytree(zoo("encoder"), folder)
    model = Model("tiny", str(folder))
    source = Source(model, model.architecture(offline=True), False, offline=True)
    load_language_model(source, random=False, seed=0)  # without an output layer, which is made
    tensors = load_file(folder / "model.safetensors")
    save_file({name: tensor for name, tensor in tensors.items() if "encoder.layer.1." not in name},
              folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match=r"lacks 16 of the weights"):
        load_language_model(source, random=False, seed=0)


def test_model_that_has_read_pools_as_before(
    zoo: Callable[..., Path], cell_of: Callable[..., Cell], monkeypatch: pytest.MonkeyPatch, shop: Shop
) -> None:
    seen: list[str] = []
    above = machine._frame

    def frame(*given: Any) -> Any:
        made = above(*given)
        seen.append(made.pooling)
        return made

    monkeypatch.setattr(machine, "_frame", frame)
    monkeypatch.setattr(reading, "pretrained", lambda texts, start, recipe, desk: stage.pretrained(
        texts, start, replace(recipe, length=40, batch=4), desk))
    cell = cell_of("text-classification", "encoder", "tapt(tokens=800)+short")
    ref = replace(cell.condition.model, pooling="cls")  # type: ignore[type-var]
    facts = run_cell(replace(cell, condition=replace(cell.condition, model=ref)), shop).facts
    assert facts["status"] in ("ok", "collapsed"), facts["reason"]
    assert set(seen) == {"cls"}


@pytest.mark.parametrize(("lost", "generates", "refused"), [
    ("decoder.", True, True), ("decoder.", False, False), ("encoder.block.1.", False, True),
])
def test_weights_that_a_checkpoint_lacks_are_not_made_up(
    lost: str, generates: bool, refused: bool, zoo: Callable[..., Path], tmp_path: Path
) -> None:
    folder = tmp_path / "part"
    transformers.AutoModelForSeq2SeqLM.from_pretrained(zoo("encoder-decoder")).save_pretrained(folder)
    kept = {name: tensor for name, tensor in load_file(folder / "model.safetensors").items()
            if not name.startswith(lost)}
    save_file(kept, folder / "model.safetensors", {"format": "pt"})
    if refused:
        with pytest.raises(UserError, match=f"lacks .* of the weights .*{lost.split('.')[0]}"):
            trunk_of(folder, generates)
    else:
        trunk_of(folder, generates)


def test_pooling_is_the_models_own(made: Make, tmp_path: Path) -> None:
    folder = tmp_path / "sentences"
    (folder / "1_Pooling").mkdir(parents=True)
    config = {"model_type": "bert", "hidden_size": 384, "architectures": ["BertModel"]}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    model = Model("sentences", str(folder))
    for mode, expected in (({"pooling_mode_cls_token": True}, "cls"), ({"pooling_mode_mean_tokens": True}, "mean")):
        (folder / "1_Pooling" / "config.json").write_text(json.dumps(mode), encoding="utf-8")
        assert model.architecture(offline=True).pooling == expected
    assert Model("sentences", str(folder), pooling="cls").architecture(offline=True).pooling == "cls"
    (folder / "1_Pooling" / "config.json").write_text("{", encoding="utf-8")
    with pytest.raises(UserError, match="1_Pooling"):
        model.architecture(offline=True)
    assert Model("bart", str(made("BartForConditionalGeneration"))).architecture(offline=True).pooling == "mean"


def test_revision_of_a_hub_model_can_be_named(shop: Shop) -> None:
    model = model_named("owner/name@refs/pr/3", shop.registry)
    assert (model.name, model.reference, model.revision) == ("owner/name@refs/pr/3", "owner/name", "refs/pr/3")
    assert model_named("owner/name", shop.registry).revision is None


def test_every_tokenizer_file_of_a_local_model_is_in_its_identity(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "marian", "is_encoder_decoder": true}', encoding="utf-8")
    found = []
    for content in ("a", "b"):
        (tmp_path / "target.spm").write_text(content, encoding="utf-8")
        found.append(Model("marian", str(tmp_path)).architecture(offline=True).identity)
    assert found[0] != found[1]


def test_pooling_on_the_hub_is_asked_for_and_not_guessed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    answers: dict[str, Any] = {}

    def fetch(repository: str, name: str, revision: str | None, offline: bool) -> str:
        if name == "config.json":
            path = tmp_path / name
            path.write_text('{"model_type": "bert"}', encoding="utf-8")
            return str(path)
        if isinstance(answers["pooling"], Exception):
            raise answers["pooling"]
        path = tmp_path / "pooling.json"
        path.write_text(json.dumps(answers["pooling"]), encoding="utf-8")
        return str(path)

    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr("tlbench.model.hf_file", fetch)
    model = Model("owner/name", "owner/name")
    answers["pooling"] = {"pooling_mode_cls_token": True}
    assert model.architecture().pooling == "cls"
    answers["pooling"] = EntryNotFoundError("404")
    assert model.architecture().pooling == "mean"
    answers["pooling"] = LocalEntryNotFoundError("unreachable")
    assert model.architecture(offline=True).pooling == "mean"
    with pytest.raises(UserError, match="could not be asked"):
        model.architecture()


@pytest.mark.parametrize("kind", ["text-classification", "question-answering"])
def test_two_texts_of_a_decoder_are_told_apart(kind: str, plan: Callable[..., Plan], zoo: Callable[..., Path]) -> None:
    for family, separator in (("decoder", "\n\n"), ("encoder", "")):
        (phase,) = plan(kind, zoo(family), "finetune").cells[0].condition.setup.phases
        assert phase.recipe.separator == separator


@pytest.fixture(scope="module")
def pieces(toys: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a SentencePiece model, as repositories without a `tokenizer.json` ship it."""
    folder = tmp_path_factory.mktemp("pieces")
    sentencepiece = importlib.import_module("sentencepiece")
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(toys.corpus()), model_prefix=str(folder / "spiece"), vocab_size=120, pad_id=0, eos_id=1,
        unk_id=2, bos_id=-1, hard_vocab_limit=False, minloglevel=2)
    return folder / "spiece.model"


def test_tokenizer_of_pieces_alone_is_read(
    pieces: Path, zoo: Callable[..., Path], tmp_path: Path, plan: Callable[..., Plan], shop: Shop
) -> None:
    folder = tmp_path / "pieces"
    shutil.copytree(zoo("encoder-decoder"), folder, ignore=shutil.ignore_patterns("*token*"))
    shutil.copy(pieces, folder)
    facts = run_cell(plan("token-classification", folder, "finetune+short").cells[0], shop).facts
    assert facts["status"] in ("ok", "collapsed"), facts["reason"]


@pytest.mark.filterwarnings("ignore:Recommended. pip install sacremoses")
def test_translator_with_a_vocabulary_for_each_side_runs_and_has_no_offsets(
    pieces: Path, tmp_path: Path, plan: Callable[..., Plan], shop: Shop
) -> None:
    folder = tmp_path / "marian"
    folder.mkdir()
    for side in ("source", "target"):
        shutil.copy(pieces, folder / f"{side}.spm")
    processor = importlib.import_module("sentencepiece").SentencePieceProcessor(model_file=str(pieces))
    names = [processor.id_to_piece(place) for place in range(processor.get_piece_size())]
    (folder / "vocab.json").write_text(json.dumps({name: place for place, name in enumerate(names)}), encoding="utf-8")
    sizes = {**ARCHITECTURES["MarianMTModel"][1], "vocab_size": len(names), "decoder_vocab_size": len(names)}
    transformers.MarianMTModel(transformers.MarianConfig(**sizes)).save_pretrained(folder)
    facts = run_cell(plan("text-generation", folder, "finetune+short").cells[0], shop).facts
    assert facts["status"] in ("ok", "collapsed"), facts["reason"]
    facts = run_cell(plan("question-answering", folder, "finetune+short").cells[0], shop).facts
    assert facts["status"] == "failed"
    assert "reports no character offsets" in facts["reason"]
