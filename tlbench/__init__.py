"""tlbench: does transfer help here, by how much, is it real, what does it cost?

The only module a plugin imports, and the Python API. Importing it never imports torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tlbench.api import board, plan, run
    from tlbench.errors import UnsupportedError, UserError
    from tlbench.hookspecs import hookimpl
    from tlbench.model import Model
    from tlbench.registry import collect
    from tlbench.setups import (
        FixedSteps,
        Learner,
        Lora,
        Phase,
        Plateau,
        Pretrained,
        Pretraining,
        Random,
        Recipe,
        Setup,
        Shape,
    )
    from tlbench.sources import DataSource, HubFiles
    from tlbench.strategy import LearnerModel, Offer, Prediction, Strategy
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

__version__ = "0.1.0"

_HOMES = {
    "api": ("board", "plan", "run"),
    "errors": ("UnsupportedError", "UserError"),
    "hookspecs": ("hookimpl",),
    "model": ("Model",),
    "registry": ("collect",),
    "setups": ("FixedSteps", "Learner", "Lora", "Phase", "Plateau", "Pretrained", "Pretraining", "Random", "Recipe",
               "Setup", "Shape"),
    "sources": ("DataSource", "HubFiles"),
    "strategy": ("LearnerModel", "Offer", "Prediction", "Strategy"),
    "task": ("Example", "GenerationExample", "QuestionExample", "Span", "Splits", "Task", "TextExample",
             "TokenExample"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "DataSource", "Example", "FixedSteps", "GenerationExample", "HubFiles", "Learner", "LearnerModel", "Lora",
    "Model", "Offer", "Phase", "Plateau", "Prediction", "Pretrained", "Pretraining", "QuestionExample", "Random",
    "Recipe", "Setup", "Shape", "Span", "Splits", "Strategy", "Task", "TextExample", "TokenExample", "UnsupportedError",
    "UserError", "__version__", "board", "collect", "hookimpl", "plan", "run",
]


def __getattr__(name: str) -> Any:
    """Import the public name from its module on first use (keeps `tlbench --help` fast)."""
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module 'tlbench' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"tlbench.{home}"), name)
    globals()[name] = value
    return value
