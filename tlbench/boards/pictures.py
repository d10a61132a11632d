"""Pictures of a board, with matplotlib, which is optional."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tlbench.errors import UserError


def picture(path: Path, size: tuple[float, float], draw: Callable[[Any], None]) -> Path:
    """Write one PNG and return its path.

    Args:
        path: The file; its folder is made.
        size: Width and height in inches.
        draw: Draws on an empty matplotlib figure.

    Raises:
        UserError: matplotlib is not installed.
    """
    if importlib.util.find_spec("matplotlib") is None:
        raise UserError("pictures need matplotlib: pip install matplotlib, or read the tables of the board instead")
    from matplotlib.figure import Figure

    path.parent.mkdir(parents=True, exist_ok=True)
    figure = Figure(figsize=size, layout="constrained")
    draw(figure)
    figure.savefig(path, dpi=120, metadata={"Software": None})
    return path
