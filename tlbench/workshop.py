"""How a process gets what cells run with: plugins, data source, device, precision."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tlbench import registry as plugins
from tlbench.errors import UserError
from tlbench.grid import PrecisionPolicy
from tlbench.model import Model
from tlbench.registry import Origin, Registry
from tlbench.sources import DataSource

if TYPE_CHECKING:
    from tlbench.cells import Shop


@dataclass(frozen=True)
class PluginSpec:
    """Which plugins a process loads beside the installed ones.

    Attributes:
        files: Python files given with `--plugin`.
        data: Keyword arguments of `tlbench.datafile.task_from_file`, one mapping per data-only task.
        toml: TOML files that describe data-only tasks.
        strict: Make faults of installed plugins errors.
    """

    files: tuple[Path, ...] = ()
    data: tuple[dict[str, Any], ...] = ()
    toml: tuple[Path, ...] = ()
    strict: bool = False


def plugin_spec(
    files: Sequence[Path], data: Sequence[Path], columns: Mapping[str, str | None], strict: bool = False
) -> PluginSpec:
    """Return which plugins and data files to load.

    Args:
        files: Python files.
        data: Data files, or TOML files that describe them.
        columns: `text`, `text_pair`, `label` and `kind` of the data files; a TOML file has its own.
        strict: Make faults of installed plugins errors.

    Raises:
        UserError: columns are named, but no file that they could be in.
    """
    given = {name: value for name, value in columns.items() if value}
    toml = tuple(path for path in data if path.suffix == ".toml")
    rest = tuple({"path": path, **given} for path in data if path not in toml)
    if given and not rest:
        raise UserError(f"{' and '.join(given)} would say how to read a data file, but none is given: add --data FILE "
                        "(a TOML file says it itself)")
    return PluginSpec(tuple(files), rest, toml, strict)


@dataclass(frozen=True)
class ShopSpec:
    """A shop as data, so that worker processes can open the same one; `named` are the models that no plugin offers."""

    plugins: PluginSpec
    source: DataSource
    policy: PrecisionPolicy = "auto"
    tier: str = "quick"
    command: str = ""
    workers: int = 1
    threads: int = 1
    gpus: tuple[str, ...] = ()
    keep_predictions: bool = True
    named: tuple[Model, ...] = ()


def open_registry(spec: PluginSpec) -> Registry:
    """Find all plugins and data-only tasks.

    Raises:
        UserError: a plugin file or a data file is faulty.
    """
    registry = plugins.load(spec.files, spec.strict)
    if spec.data or spec.toml:
        from tlbench.datafile import task_from_file, tasks_from_toml

        for given in spec.data:
            registry.add_task(task_from_file(**given), Origin(f"data file {given['path']}", strict=True))
        for path in spec.toml:
            for task in tasks_from_toml(path):
                registry.add_task(task, Origin(f"data file {path}", strict=True))
    return registry


def open_shop(spec: ShopSpec, registry: Registry | None = None) -> Shop:
    """Open a shop: imports torch, joins the ranks, probes the precision."""
    # oneDNN keeps 1,024 matrix kernels, one per shape; with AMX each takes 1 to 2 MB, most of a process's memory.
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "256")
    from tlbench.cells import Shop
    from tlbench.engine.place import Place
    from tlbench.engine.precision import choose

    quiet()
    registry = registry or open_registry(spec.plugins)
    for model in spec.named:
        registry.add_model(model)
    place = Place()
    precision = place.from_first(choose(spec.policy, place.device, spec.source.cache) if place.rank == 0 else None)
    return Shop(registry, spec.source, place, precision, spec.tier, spec.command, spec.workers, spec.keep_predictions)


def quiet() -> None:
    """Keep the libraries' progress bars and load reports out of the terminal; their errors still come through."""
    import warnings

    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*", category=FutureWarning)
    # FRoD of peft multiplies by sparse matrices, and torch tells every process once that it does not check them.
    warnings.filterwarnings("ignore", message="Sparse invariant checks are implicitly disabled")
    # Why torch's fused attention is not repeatable here stands in docs/protocol.md, not in every process's output.
    warnings.filterwarnings("ignore", message=".* Attention defaults to a non-deterministic algorithm")
