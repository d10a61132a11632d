"""Acme's task and strategy, found by tlbench through the entry point in pyproject.toml."""

from tlbench import collect, hookimpl


@hookimpl
def tlbench_tasks():
    """Offer the tasks of this package."""
    return collect(__path__, __name__).tasks


@hookimpl
def tlbench_strategies():
    """Offer the strategies of this package."""
    return collect(__path__, __name__).strategies
