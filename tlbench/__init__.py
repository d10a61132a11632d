"""tlbench: does transfer help here, by how much, is it real, what does it cost?

The only module a plugin imports, and the Python API. Importing it never imports torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tlbench.api import board, plan, run
    from tlbench.canonical import added
    from tlbench.errors import UnsupportedError, UserError
    from tlbench.hookspecs import hookimpl
    from tlbench.hub import HubTask
    from tlbench.kinds.evaluate_metric import evaluate_metric
    from tlbench.model import Model
    from tlbench.registry import collect
    from tlbench.setups import (
        Augment,
        Checkpoint,
        Continued,
        FixedSteps,
        Learner,
        Lora,
        Mixture,
        ModelRef,
        Peft,
        Phase,
        Plateau,
        Pretrained,
        Pretraining,
        Random,
        Readout,
        Reads,
        Recipe,
        Setup,
        Shape,
        Stream,
        Teacher,
        TextStream,
        Ties,
    )
    from tlbench.sources import DataSource, HubFiles
    from tlbench.strategy import (
        LearnerModel,
        Offer,
        Prediction,
        Shared,
        SourceOffer,
        Stages,
        Strategy,
        TeacherOffer,
        TextModel,
    )
    from tlbench.task import (
        Example,
        GenerationExample,
        QuestionExample,
        Span,
        Splits,
        Task,
        TextExample,
        TokenExample,
    )
    from tlbench.template import Template
    from tlbench.words import spaced

__version__ = "0.1.0"

_HOMES = {
    "api": ("board", "plan", "run"),
    "canonical": ("added",),
    "errors": ("UnsupportedError", "UserError"),
    "hookspecs": ("hookimpl",),
    "hub": ("HubTask",),
    "kinds.evaluate_metric": ("evaluate_metric",),
    "model": ("Model",),
    "registry": ("collect",),
    "setups": ("Augment", "Checkpoint", "Continued", "FixedSteps", "Learner", "Lora", "Mixture", "ModelRef", "Peft",
               "Phase", "Plateau", "Pretrained", "Pretraining", "Random", "Readout", "Reads", "Recipe", "Setup",
               "Shape", "Stream", "Teacher", "TextStream", "Ties"),
    "sources": ("DataSource", "HubFiles"),
    "strategy": ("LearnerModel", "Offer", "Prediction", "Shared", "SourceOffer", "Stages", "Strategy",
                 "TeacherOffer", "TextModel"),
    "task": ("Example", "GenerationExample", "QuestionExample", "Span", "Splits", "Task", "TextExample",
             "TokenExample"),
    "template": ("Template",),
    "words": ("spaced",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "Augment",
    "Checkpoint",
    "Continued",
    "DataSource",
    "Example",
    "FixedSteps",
    "GenerationExample",
    "HubFiles",
    "HubTask",
    "Learner",
    "LearnerModel",
    "Lora",
    "Mixture",
    "Model",
    "ModelRef",
    "Offer",
    "Peft",
    "Phase",
    "Plateau",
    "Prediction",
    "Pretrained",
    "Pretraining",
    "QuestionExample",
    "Random",
    "Readout",
    "Reads",
    "Recipe",
    "Setup",
    "Shape",
    "Shared",
    "SourceOffer",
    "Span",
    "Splits",
    "Stages",
    "Strategy",
    "Stream",
    "Task",
    "Teacher",
    "TeacherOffer",
    "Template",
    "TextExample",
    "TextModel",
    "TextStream",
    "Ties",
    "TokenExample",
    "UnsupportedError",
    "UserError",
    "__version__",
    "added",
    "board",
    "collect",
    "evaluate_metric",
    "hookimpl",
    "plan",
    "run",
    "spaced",
]


def __getattr__(name: str) -> Any:
    """Import the public name from its module on first use (keeps `tlbench --help` fast)."""
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module 'tlbench' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"tlbench.{home}"), name)
    globals()[name] = value
    return value
