"""The model contract: where weights come from."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tlbench.errors import UserError
from tlbench.files import file_sha256
from tlbench.setups import Family
from tlbench.sources import offline_wanted

PACKAGE = "package:"
UNKNOWN = "unknown"
"""Among a model's training sources: it has read other text as well, of which nothing is known."""
_POOLING = "1_Pooling/config.json"


@dataclass(frozen=True)
class Model:
    """Where weights come from.

    Attributes:
        name: Short name in commands and tables.
        reference: Hub id (`owner/name`), local folder, or `package:module/folder` inside an installed package.
        revision: Hub revision; `None` takes the repository's main branch and records what it resolved to.
        family: `encoder`, `decoder`, `encoder-decoder`; `None` reads it from the model's config.
        pooling: How one vector is made of a text: `cls`, or `mean` unless the folder or repository says that the model
            was trained with its first token (`1_Pooling/config.json` of a sentence encoder; offline, a Hub model whose
            file is not in the cache is pooled by the mean).
        training_sources: Data sets the weights have seen, for the leak flag; empty means unknown, and so does `unknown`
            among them of all others.
        sha256: Expected SHA-256 of the weights file; checked before loading.
        kinds: Task kinds it stands for in a default run; empty means that it runs only where it is named.
        note: A caveat that the board prints.
        trust_remote_code: Execute code from the model's repository. Never on by default.
    """

    name: str
    reference: str
    revision: str | None = None
    family: Family | None = None
    pooling: Literal["mean", "cls"] = "mean"
    training_sources: tuple[str, ...] = ()
    sha256: str | None = None
    kinds: tuple[str, ...] = ()
    note: str = ""
    trust_remote_code: bool = False

    def folder(self) -> Path | None:
        """Return the local folder of the weights, or `None` for a Hub id.

        Raises:
            UserError: a package or folder that the reference names is not there.
        """
        if self.reference.startswith(PACKAGE):
            return package_folder(self.reference)
        path = Path(self.reference).expanduser()
        if path.is_dir():
            return path.resolve()
        if self.reference.startswith((".", "/", "~")):
            raise UserError(f"model folder {self.reference!r} does not exist: give a folder made by save_pretrained")
        return None

    def files(self, offline: bool = False) -> Path:
        """Return the folder that holds the model's `config.json`, fetching that one file from the Hub if need be.

        Raises:
            UserError: there is no such model here, or it cannot be reached.
        """
        folder = self.folder()
        if folder is not None:
            if not (folder / "config.json").is_file():
                raise UserError(f"model {self.name!r} has no config.json in {str(folder)!r}: save it with "
                                "save_pretrained")
            return folder
        try:
            return Path(hf_file(self.reference, "config.json", self.revision, offline)).parent
        except Exception as error:
            raise UserError(f"model {self.reference!r} is neither a local folder nor reachable on the Hub "
                            f"({type(error).__name__}): check its name, the network, or give a folder") from error

    def architecture(self, offline: bool = False) -> Architecture:
        """Return family, model type and what identifies the weights (read as JSON, no torch).

        Raises:
            UserError: there is no such model here, it cannot be reached, or its config is damaged.
        """
        folder = self.files(offline)
        try:
            config = dict(json.loads((folder / "config.json").read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise UserError(f"config.json of model {self.name!r} in {str(folder)!r} is not readable JSON: save the "
                            "model again with save_pretrained") from error
        if self.folder() is None:
            identity: dict[str, Any] = {"hub": self.reference, "commit": folder.name}
        else:
            identity = {"files": _content(folder)}
        family = self.family or family_of(config)
        weights = self.folder() is None or any(folder.glob("*.safetensors"))
        pooling = self._own_pooling(folder.name, offline) if family == "encoder" else self.pooling
        return Architecture(family, str(config.get("model_type", "unknown")), identity, weights, pooling,
                            width_of(config))

    def _own_pooling(self, commit: str, offline: bool) -> Literal["mean", "cls"]:
        """Return the declared pooling, or that of a sentence encoder's own settings."""
        if self.pooling != "mean":
            return self.pooling
        folder = self.folder()
        path = folder / _POOLING if folder else self._from_hub(_POOLING, commit, offline)
        if path is None or not path.is_file():
            return self.pooling
        try:
            own = dict(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise UserError(f"{_POOLING} of model {self.name!r} is not readable JSON: correct or remove it") from error
        return "cls" if own.get("pooling_mode_cls_token") is True else "mean"

    def _from_hub(self, name: str, commit: str, offline: bool) -> Path | None:
        """Return a file that a Hub repository may have; offline, one that is not in the cache is none."""
        from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

        try:
            return Path(hf_file(self.reference, name, commit, offline))
        except Exception as error:
            known = isinstance(error, EntryNotFoundError) and not isinstance(error, LocalEntryNotFoundError)
            if known or offline or offline_wanted():
                return None
            raise UserError(f"the Hub could not be asked whether model {self.reference!r} has {name} "
                            f"({type(error).__name__}): check the network, or give --offline") from error


@dataclass(frozen=True)
class Architecture:
    """What the core knows about a model without loading it.

    Attributes:
        family: `encoder`, `decoder` or `encoder-decoder`.
        model_type: transformers' name of the architecture, for example `bert` or `t5`.
        identity: Content hashes of a local model, or Hub id and resolved commit; part of every cell's key.
        weights: Whether there are weights; a folder with config and tokenizer alone can only start at random.
        pooling: How one vector is made of a text.
        width: Size of the hidden states, or `None` where the config does not say.
    """

    family: Family
    model_type: str
    identity: dict[str, Any]
    weights: bool = True
    pooling: str = "mean"
    width: int | None = None


_CONTENT = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "vocab.txt",
            "special_tokens_map.json", "spiece.model", "vocab.json", "merges.txt", "added_tokens.json",
            "tokenizer.model", "sentencepiece.bpe.model", "source.spm", "target.spm", "spm.model", "target_vocab.json",
            "bpe.codes", "spiece.vocab")


def _content(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each file that a score can depend on."""
    paths = [folder / name for name in _CONTENT if (folder / name).is_file()] + sorted(folder.glob("*.safetensors"))
    return {path.name: file_sha256(path) for path in paths}


def hf_file(repository: str, name: str, revision: str | None, offline: bool) -> str:
    """Return the path of one file of a Hub repository, fetched if need be."""
    from huggingface_hub import hf_hub_download

    return str(hf_hub_download(repository, name, revision=revision, local_files_only=offline))


def package_folder(reference: str) -> Path:
    """Return the folder that `package:module/sub/folder` names, without importing the package.

    Raises:
        UserError: the package is not installed or holds no such folder.
    """
    module, _, inner = reference.removeprefix(PACKAGE).partition("/")
    spec = importlib.util.find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        raise UserError(f"model reference {reference!r} names a package that is not installed: pip install it")
    path = Path(next(iter(spec.submodule_search_locations))) / inner
    if not path.is_dir():
        raise UserError(f"model reference {reference!r}: package {module!r} holds no folder {inner!r}")
    return path


def width_of(config: dict[str, Any]) -> int | None:
    """Return the size of the hidden states that a transformers config names, read as JSON (no torch)."""
    inner = config.get("text_config")
    for found in (config, inner if isinstance(inner, dict) else {}):
        for name in ("hidden_size", "d_model", "n_embd", "dim"):
            if isinstance(found.get(name), int):
                return int(found[name])
    return None


def family_of(config: dict[str, Any]) -> Family:
    """Return the family of a transformers config, read as JSON (no torch)."""
    if config.get("is_encoder_decoder"):
        return "encoder-decoder"
    architectures = " ".join(config.get("architectures") or ())
    decoders = ("gpt", "llama", "mistral", "qwen", "gemma", "phi", "opt", "bloom", "falcon", "mamba", "olmo")
    if "CausalLM" in architectures or "LMHeadModel" in architectures:
        return "decoder"
    return "decoder" if str(config.get("model_type", "")).startswith(decoders) else "encoder"
