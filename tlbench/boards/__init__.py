"""Boards: tables computed from records, and from nothing else. Never imports torch.

`build(store)` makes a `Board` of values; `render`, `as_json` and `curves` print it; `show` prints one cell.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tlbench.boards.document import as_json
    from tlbench.boards.markdown import render
    from tlbench.boards.rows import build, select

_HOMES = {"as_json": "document", "render": "markdown", "build": "rows", "select": "rows"}

__all__ = ["as_json", "build", "render", "select"]


def __getattr__(name: str) -> Any:
    """Import the public name on first use, so that an unchanged board is printed without pandas."""
    if name not in _HOMES:
        raise AttributeError(f"module 'tlbench.boards' has no attribute {name!r}")
    return getattr(importlib.import_module(f"tlbench.boards.{_HOMES[name]}"), name)
