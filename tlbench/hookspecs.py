"""The hooks a plugin may implement (pluggy, entry-point group `tlbench`).

Decorate a module-level function with `@tlbench.hookimpl`. Each hook is called plugin by plugin, so that a
broken plugin is reported by name and cannot stop the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from tlbench.model import Model
    from tlbench.strategy import Strategy
    from tlbench.task import Task

GROUP = "tlbench"
hookspec = pluggy.HookspecMarker(GROUP)
hookimpl = pluggy.HookimplMarker(GROUP)


@hookspec
def tlbench_tasks() -> Sequence[type[Task] | Task]:  # type: ignore[empty-body]
    """Offer tasks.

    Returns a list of Task classes (or objects, for tasks that differ by data only). Called once when a
    command starts. Must not read data, open a socket or import torch.
    """


@hookspec
def tlbench_strategies() -> Sequence[type[Strategy]]:  # type: ignore[empty-body]
    """Offer strategies.

    Returns a list of Strategy classes: frozen dataclasses whose fields all have defaults. Called once when a
    command starts. Must not import torch.
    """


@hookspec
def tlbench_models() -> Sequence[Model]:  # type: ignore[empty-body]
    """Offer models.

    Returns a list of Model values. Called once when a command starts. Must not load weights or open a socket.
    """
