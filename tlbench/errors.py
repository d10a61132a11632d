"""Errors whose message is one sentence for the user: what is wrong, where it came from, what to do."""

from __future__ import annotations

from pathlib import Path


class TlbenchError(Exception):
    """Base of the errors that tlbench raises on purpose."""


class UserError(TlbenchError):
    """Wrong usage or unusable input; the command line prints it without a traceback and exits with 2."""


class UnsupportedError(TlbenchError):
    """A combination that a strategy, family or kind does not define; the cell's status says so."""


def unwritable(folder: Path, error: OSError) -> UserError:
    """Return what to say of a results folder that the system will not write to."""
    return UserError(
        f"results folder {str(folder)!r} cannot be written to ({error.strerror}): free some space, mend its "
        "permissions, or give another --out"
    )
