"""What the published boards were computed from, so that a run can say that its own text differs."""

from __future__ import annotations

from collections.abc import Iterable

from tlbench.grid import Cell

FINGERPRINTS = {
    "apidoc": "a64240b16c81046e90cf3e12f4a5a0ba175710f2457cdd632490a6d914082f7e",
    "interface": "99ba50c88b48ddd43a0d84a629a7a23c3be2a3d3188a971d5062fb00b0e0d4e5",
}
"""Corpus to the SHA-256 of its rows under `constraints.txt`."""


def differences(cells: Iterable[Cell]) -> list[str]:
    """Return a sentence for each embedded corpus whose rows are not those of the published boards."""
    found = {(name, value) for cell in cells for name, value in cell.condition.task.identity.items()
             if name in FINGERPRINTS and value != FINGERPRINTS[name]}
    return [f"the corpus {name!r} differs from the published boards' (other package versions): compare scores inside "
            "this run only, or install under constraints.txt" for name, _ in sorted(found)]
