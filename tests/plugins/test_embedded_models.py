"""The models in the package are what their cards say, small enough for a wheel, and loss targets hold."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from tlbench_plugins import embedded_models

from tlbench import Model
from tlbench.engine.pretraining.card import render

PACKAGED = [model for model in vars(embedded_models).values()
            if isinstance(model, Model) and model.reference.startswith("package:tlbench_plugins/")]
MB = 10**6


@pytest.fixture(params=PACKAGED, ids=lambda model: model.name)
def model(request: pytest.FixtureRequest) -> Model:
    """Return each of the models that tlbench ships."""
    found: Model = request.param
    return found


@pytest.fixture
def folder(model: Model) -> Path:
    """Return its folder."""
    found = model.folder()
    assert found is not None
    return found


@pytest.fixture
def facts(folder: Path) -> dict[str, Any]:
    """Return what its pre-training wrote down."""
    found: dict[str, Any] = json.loads((folder / "pretraining.json").read_text(encoding="utf-8"))
    return found


def test_every_model_folder_is_declared() -> None:
    shipped = {path.parent.name for path in Path(embedded_models.__file__).parent.glob("models/*/config.json")}
    assert shipped == {Path(model.reference).name for model in PACKAGED}


def test_weights_are_those_of_plugin_card_and_facts(model: Model, folder: Path, facts: dict[str, Any]) -> None:
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    assert digest == model.sha256 == facts["weights_sha256"]
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert f"`{digest}`" in card
    assert facts["corpus"]["fingerprint"] in card
    assert card == render(model.name, facts)


def test_weights_are_bf16_and_as_many_as_stated(folder: Path, facts: dict[str, Any]) -> None:
    with safe_open(folder / "model.safetensors", "pt") as file:
        slices = [file.get_slice(name) for name in file.keys()]  # noqa: SIM118, safe_open is no mapping
        assert {part.get_dtype() for part in slices} == {"BF16"}
        assert sum(int(np.prod(part.get_shape())) for part in slices) == facts["parameters"]


def test_held_out_loss_meets_its_targets(facts: dict[str, Any]) -> None:
    assert facts["held_out"] <= 0.6 * facts["unigram"]
    assert facts["held_out"] < facts["trigram"]


def test_the_note_gives_the_loss_of_the_card(model: Model, facts: dict[str, Any]) -> None:
    assert f"{facts['tokens'] / 1e6:.0f} M tokens" in model.note
    assert f"held-out loss {100 * facts['held_out'] / facts['unigram']:.0f} % of unigram" in model.note


def test_models_fit_into_a_wheel() -> None:
    sizes = {model.name: sum(path.stat().st_size for path in folder.iterdir())
             for model in PACKAGED if (folder := model.folder())}
    assert sizes["tlbench-mini"] <= 20 * MB
    assert sum(sizes.values()) < 78 * MB, f"a wheel stays below 80 MB: {sizes}"
