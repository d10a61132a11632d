"""A machine: trunk, head and form together, the one module that is trained and asked."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from tlbench.engine.adapters import add_adapter, merges
from tlbench.engine.families import Source, frozen_for_head, load_tokenizer, load_trunk, max_positions
from tlbench.engine.forms import Batch, ClassificationForm, Form, Frame, RegressionForm, TaggingForm
from tlbench.engine.generation import GenerationForm, room_behind
from tlbench.engine.layers import tie
from tlbench.engine.spans import SpanForm
from tlbench.engine.upstream import transplant
from tlbench.errors import UserError
from tlbench.setups import Readout, Recipe, Setup, Teacher, Trainable

FORMS: dict[str, type[Form]] = {
    "text-classification": ClassificationForm,
    "text-regression": RegressionForm,
    "token-classification": TaggingForm,
    "question-answering": SpanForm,
    "text-generation": GenerationForm,
}


class Machine(nn.Module):
    """What is trained: a trunk, and tlbench's own linear head on its hidden states.

    Trunk, head and features mean the same for every family: encoder-decoders use their encoder for all kinds
    but generation. The head starts from N(0, 0.02) with zero bias.
    """

    def __init__(self, trunk: nn.Module, form: Form, head_seed: int, last: int = 1) -> None:
        """Put a fresh head on a trunk; it reads the mean of the hidden states of the `last` blocks."""
        super().__init__()
        self.trunk = trunk
        self.form = form
        self.last = last
        self.adapters = frozenset(name for name, p in trunk.named_parameters() if p.requires_grad)
        self.head: nn.Linear | None = None
        self.head_only = False
        self.teacher: Teacher | None = None
        self.sizes: dict[str, int] = {}
        if form.outputs():
            config: Any = trunk.config
            self.head = nn.Linear(config.hidden_size, form.outputs())
            generator = torch.Generator().manual_seed(head_seed)
            nn.init.normal_(self.head.weight, std=0.02, generator=generator)
            nn.init.zeros_(self.head.bias)

    def forward(self, batch: Batch) -> torch.Tensor:
        """Return the summed loss of a batch, a float32 scalar; teachers count only where a batch carries them."""
        scores = self.form.scores(self, batch)
        loss = self.form.loss(scores, batch)
        if self.teacher is None or "soft" not in batch:
            return loss
        soft = self.form.soft_loss(scores, batch, self.teacher.temperature)
        return (1 - self.teacher.weight) * loss + self.teacher.weight * soft

    def hidden(self, batch: Batch) -> torch.Tensor:
        """Return the trunk's hidden states (rows, tokens, width), or the cached features of the batch."""
        if "hidden" in batch:
            return batch["hidden"]
        given = {name: batch[name] for name in ("input_ids", "attention_mask", "token_type_ids") if name in batch}
        if self.last == 1:
            states: torch.Tensor = self.trunk(**given).last_hidden_state
            return states
        inner = self.trunk(**given, output_hidden_states=True).hidden_states[-self.last :]
        return torch.stack([nn.functional.rms_norm(each.float(), each.shape[-1:]) for each in inner]).mean(0)

    def train(self, mode: bool = True) -> Machine:
        """Switch dropout on; a trunk of which only the head is trained stays in eval mode.

        For generation the decoder is the head: the encoder alone stays in eval mode.
        """
        super().train(mode)
        if mode and self.head_only:
            frozen = self.trunk.get_encoder() if self.form.generates else self.trunk  # type: ignore[operator]
            frozen.eval()
        return self

    def release(self, trainable: Trainable) -> None:
        """Say which weights move: all, the head alone, or adapters and head."""
        self.head_only = trainable == "head"
        if trainable == "adapters":
            for name, p in self.trunk.named_parameters():
                p.requires_grad_(name in self.adapters)
            return
        for p in self.trunk.parameters():
            p.requires_grad_(trainable == "all" or self.form.generates)
        if self.head_only and self.form.generates:
            for p in frozen_for_head(self.trunk):
                p.requires_grad_(False)

    def counts(self) -> dict[str, int]:
        """Return how many weights there are, how many of them move, and what else `build` counted."""
        return {
            "params_total": sum(p.numel() for p in self.parameters()),
            "params_trainable": sum(p.numel() for p in self.parameters() if p.requires_grad),
            **self.sizes,
        }


def build(
    source: Source,
    setup: Setup,
    kind: str,
    labels: tuple[str, ...],
    seeds: dict[str, int],
    state: dict[str, torch.Tensor] | None = None,
) -> Machine:
    """Return the machine of a Setup, before training.

    Args:
        source: Model and role.
        setup: The resolved Setup.
        kind: Kind of the task.
        labels: Label space of the task.
        seeds: Seeds of the streams `init`, `head` and `adapters`.
        state: Weights of an upstream trunk, put in place of the published ones.

    Raises:
        UserError: weights or tokenizer cannot be loaded.
    """
    tokenizer = load_tokenizer(source)
    trunk = load_trunk(source, setup.weights, seeds["init"])
    if state is not None:
        transplant(trunk, state)
    sizes = {}
    if setup.ties:
        sizes["params_untied"] = _size(trunk)
        tie(trunk, setup.ties.distinct)
    if setup.adapters and all(map(merges, setup.adapters)):
        sizes["params_merged"] = _size(trunk)
    readout = setup.readout or Readout()
    if readout.layers > getattr(trunk.config, "num_hidden_layers", 1):
        raise UserError(f"model {source.model.name!r} has fewer than {readout.layers} blocks to read: ask for fewer")
    form = FORMS[kind](_frame(trunk, tokenizer, source, setup.phases[0].recipe, labels, readout))
    for adapter in setup.adapters:
        trunk = add_adapter(trunk, adapter, source.architecture.model_type, seeds["adapters"])
    machine = Machine(trunk, form, seeds["head"], readout.layers)
    machine.teacher = setup.teacher
    head = 0 if machine.head is None else _size(machine.head)
    machine.sizes = {name: size + head for name, size in sizes.items()}
    machine.release(setup.phases[0].trainable)
    return machine


def _size(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def beside(machine: Machine, source: Source, kind: str, labels: tuple[str, ...], recipe: Recipe, seed: int) -> Machine:
    """Return a machine of another task on the same trunk, with a head of its own.

    Args:
        machine: The machine whose trunk is shared.
        source: Model and role of the new machine.
        kind: Kind of its task.
        labels: Label space of its task.
        recipe: Lengths that its texts are cut to.
        seed: Seed of its head.

    Raises:
        UserError: the task generates text and the trunk is only a part of the model.
    """
    trunk: Any = machine.trunk
    if source.generates and not machine.form.generates:
        raise UserError("a stream that generates text needs the whole model, but the target uses a part of it")
    if machine.form.generates and not source.generates:
        whole = trunk.get_base_model() if hasattr(trunk, "get_base_model") else trunk
        inside = source.architecture.family == "encoder-decoder"
        trunk = whole.get_encoder() if inside else getattr(whole, whole.base_model_prefix)
    tokenizer = load_tokenizer(source)
    form = FORMS[kind](_frame(trunk, tokenizer, source, recipe, labels, Readout()))
    return Machine(trunk, form, seed)


def _frame(
    trunk: nn.Module, tokenizer: Any, source: Source, recipe: Recipe, labels: tuple[str, ...], readout: Readout
) -> Frame:
    family = source.architecture.family
    behind = room_behind(tokenizer, recipe.max_target_length) if source.generates and family == "decoder" else 0
    return Frame(
        tokenizer,
        family,
        source.architecture.pooling if readout.pooling == "model" else readout.pooling,
        max_positions(trunk, tokenizer, recipe.max_length, behind),
        recipe.max_target_length,
        labels,
        recipe.standardise,
        separator=recipe.separator,
    )
