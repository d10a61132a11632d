"""Errors whose message is one sentence for the user: what is wrong, where it came from, what to do."""

from __future__ import annotations


class TlbenchError(Exception):
    """Base of the errors that tlbench raises on purpose."""


class UserError(TlbenchError):
    """Wrong usage or unusable input; the command line prints it without a traceback and exits with 2."""


class UnsupportedError(TlbenchError):
    """A combination that a strategy, family or kind does not define; the cell's status says so."""
