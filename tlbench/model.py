"""The model contract: where weights come from."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tlbench.errors import UserError
from tlbench.strategy import Family

PACKAGE = "package:"


@dataclass(frozen=True)
class Model:
    """Where weights come from.

    Attributes:
        name: Short name in commands and tables.
        reference: Hub id (`owner/name`), local folder, or `package:module/folder` inside an installed package.
        revision: Hub revision; `None` takes the repository's main branch and records what it resolved to.
        family: `encoder`, `decoder`, `encoder-decoder`; `None` reads it from the model's config.
        pooling: How one vector is made of a text: the model's own if it was trained with one, else `mean`.
        training_sources: Data sets the weights have seen, for the leak flag; empty means unknown.
        sha256: Expected SHA-256 of the weights file; checked before loading.
        kinds: Task kinds it stands for in a default run; empty means all that its family supports.
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

    def config(self) -> dict[str, Any] | None:
        """Return the parsed `config.json` of a local model, or `None` for a Hub id."""
        folder = self.folder()
        if folder is None:
            return None
        path = folder / "config.json"
        if not path.is_file():
            raise UserError(f"model {self.name!r} has no config.json in {str(folder)!r}: save it with save_pretrained")
        config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return config


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


def family_of(config: dict[str, Any]) -> Family:
    """Return the family of a transformers config, read as JSON (no torch)."""
    if config.get("is_encoder_decoder"):
        return "encoder-decoder"
    architectures = " ".join(config.get("architectures") or ())
    decoders = ("gpt", "llama", "mistral", "qwen", "gemma", "phi", "opt", "bloom", "falcon", "mamba", "olmo")
    if "CausalLM" in architectures or "LMHeadModel" in architectures:
        return "decoder"
    return "decoder" if str(config.get("model_type", "")).startswith(decoders) else "encoder"
