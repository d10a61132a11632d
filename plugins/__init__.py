"""Built-in strategies and models, one file each, offered through the same door as any plugin's."""

from tlbench import collect, hookimpl


@hookimpl
def tlbench_strategies():  # type: ignore[no-untyped-def]
    """Offer the strategies of this package."""
    return collect(__path__, __name__).strategies


@hookimpl
def tlbench_models():  # type: ignore[no-untyped-def]
    """Offer the models of this package."""
    return collect(__path__, __name__).models
