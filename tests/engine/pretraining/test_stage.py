"""The stage that strategies call: computed once, whoever asks, and the same as the command's model."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tlbench.corpora.signatures import leak
from tlbench.engine.families import Source, load_trunk
from tlbench.engine.pretraining import result
from tlbench.engine.pretraining.stage import pretrained
from tlbench.engine.pretraining.start import Untrained
from tlbench.errors import UserError
from tlbench.model import Model
from tlbench.setups import Pretrained


def source(folder: Path) -> Source:
    model = Model("tiny", str(folder))
    return Source(model, model.architecture(offline=True), generates=False, offline=True)


def test_stage_computes_once_and_states_its_cost(
    pretraining_toys: Any, monkeypatch: pytest.MonkeyPatch, text: Callable[[int], list[str]]
) -> None:
    toys, texts = pretraining_toys, text(120)
    start, recipe = toys.job("encoder").start, toys.recipe("encoder")
    made = pretrained(texts, start, recipe, toys.bench())
    assert made.tokens == 6 * 4 * 48
    assert made.seconds > 0
    assert made.facts["dtype"] == "float32"
    assert made.folder.is_relative_to(toys.cache)
    monkeypatch.setattr(result, "pretrain", lambda *_: pytest.fail("computed twice"))
    assert pretrained([*reversed(texts), texts[0]], start, recipe, toys.bench()) == made
    assert sorted(path.name for path in (toys.cache / "cache" / "pretraining").iterdir()) == [
        path.name for path in (toys.cache / "cache" / "pretraining").glob("*.lock")]
    with pytest.raises(pytest.fail.Exception):
        pretrained(texts, start, replace(recipe, seed=1), toys.bench())


@pytest.mark.parametrize("family", ["encoder", "decoder", "encoder-decoder"])
def test_stage_goes_on_from_a_model_or_from_its_architecture(
    family: str, pretraining_toys: Any, text: Callable[[int], list[str]]
) -> None:
    toys = pretraining_toys
    first = pretrained(text(120), toys.job(family).start, toys.recipe(family), toys.bench())
    recipe = toys.recipe(family, tokens=4 * 48, step_size=1e-6)
    on = pretrained(text(130), source(first.folder), recipe, toys.bench())
    anew = pretrained(text(130), Untrained(source(first.folder)), recipe, toys.bench())
    assert len({first.folder, on.folder, anew.folder}) == 3
    weights = [load_file(made.folder / "model.safetensors") for made in (first, on, anew)]
    name = max(weights[0], key=lambda name: weights[0][name].numel())
    assert torch.allclose(weights[0][name], weights[1][name], atol=1e-3)
    assert not torch.allclose(weights[0][name], weights[2][name], atol=1e-3)
    assert (on.folder / "tokenizer.json").read_text() == (first.folder / "tokenizer.json").read_text()
    assert "the weights of tiny" in (on.folder / "README.md").read_text()
    assert "random weights in the architecture of tiny" in (anew.folder / "README.md").read_text()
    trunk = load_trunk(source(on.folder), Pretrained(), seed=0)
    assert all(p.dtype == torch.float32 for p in trunk.parameters())


def test_stage_keeps_published_dropout_and_signatures(pretraining_toys: Any, text: Callable[[int], list[str]]) -> None:
    from transformers import AutoConfig

    toys = pretraining_toys
    made = pretrained(text(120), toys.job("encoder").start, toys.recipe("encoder"), toys.bench())
    assert AutoConfig.from_pretrained(made.folder).hidden_dropout_prob == 0.1
    found = leak(text(120), np.load(made.folder / "signatures.npy", allow_pickle=False))
    assert found.checkable >= found.shared > 20  # a few of the checkable ones were held out


def test_model_too_short_for_the_rows_is_refused(pretraining_toys: Any, zoo: Any, text: Any) -> None:
    recipe = pretraining_toys.recipe("encoder", length=2000)
    with pytest.raises(UserError, match="give a smaller --length"):
        pretrained(text(900), source(zoo("encoder")), replace(recipe, tokens=10**5), pretraining_toys.bench())


def test_stage_takes_models_with_tokenizers_of_their_own(pretraining_toys: Any, zoo: Any, text: Any) -> None:
    for family in ("encoder", "decoder", "encoder-decoder"):
        made = pretrained(text(120), source(zoo(family)), pretraining_toys.recipe(family), pretraining_toys.bench())
        assert made.facts["corpus"]["epoch_tokens"] > 500


_RACE = """
import sys
sys.path.insert(0, {folder!r})
from pathlib import Path
from tlbench.engine.place import Place
from tlbench.engine.pretraining.stage import pretrained
from tlbench.engine.pretraining.training import Bench
from tlbench.setups import Pretraining, Shape
texts = [f"text number {{number}} reads the table of {{number % 7}} keys" for number in range(100)]
said = []
made = pretrained(texts, Shape("decoder", 1, 16, 300, 2), Pretraining("causal", 1000 * 64, batch=4, length=16),
                  Bench(Place(), "fp32", Path({cache!r}), said.append))
print(made.folder, made.facts["weights_sha256"], sum("waiting" not in line for line in said))
"""


@pytest.mark.slow
def test_two_processes_that_want_one_checkpoint_compute_it_once(tmp_path: Path) -> None:
    code = textwrap.dedent(_RACE.format(folder=str(Path.cwd()), cache=str(tmp_path)))
    running = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    answers = [process.communicate(timeout=900)[0].split() for process in running]
    assert [process.returncode for process in running] == [0, 0]
    assert answers[0][:2] == answers[1][:2]
    assert sorted(answer[2] == "0" for answer in answers) == [False, True]
