"""Built-in tasks, one file each, offered through the same door as any plugin's."""

from tlbench import collect, hookimpl


@hookimpl
def tlbench_tasks():  # type: ignore[no-untyped-def]
    """Offer the tasks of this package."""
    return collect(__path__, __name__).tasks
