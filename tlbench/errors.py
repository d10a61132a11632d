"""Errors whose message is one sentence for the user: what is wrong, where it came from, what to do."""

from __future__ import annotations

import traceback
from pathlib import Path


class TlbenchError(Exception):
    """Base of the errors that tlbench raises on purpose."""


class UserError(TlbenchError):
    """Wrong usage or unusable input; the command line prints it without a traceback and exits with 2."""


class UnsupportedError(TlbenchError):
    """A combination that a strategy, family or kind does not define; the cell's status says so."""


class RankLostError(TlbenchError):
    """One of several ranks cannot be in step with the others any more; its process must end."""


def sentence(error: BaseException) -> str:
    """Return an error as one line: its message, and where in the code it came from unless it is the user's."""
    if isinstance(error, UserError):
        return str(error)
    last = traceback.extract_tb(error.__traceback__)[-1]
    text = " ".join(str(error).split())[:300]
    return f"{type(error).__name__}: {text} ({last.filename.rpartition('/')[2]}:{last.lineno})"


def unwritable(folder: Path, error: OSError) -> UserError:
    """Return what to say of a results folder that the system will not write to."""
    return UserError(
        f"results folder {str(folder)!r} cannot be written to ({error.strerror}): free some space, mend its "
        "permissions, or give another --out"
    )
