"""The Python API: what the command line does, returning DataFrames."""

from __future__ import annotations

import json
import os
import shlex
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, Unpack

from tlbench.attempts import unwinding
from tlbench.boards.cached import check_free, render_folder
from tlbench.canonical import storable
from tlbench.errors import UserError
from tlbench.grid import PrecisionPolicy
from tlbench.planning import Plan, Request, budget_of, make_plan
from tlbench.records import Record, Store, current
from tlbench.registry import Registry, known
from tlbench.runner import Reporter, Silent, Todo, fresh_folder, lock, run_here, todo
from tlbench.sources import DataSource, mirrored, offline_wanted
from tlbench.specs import split_outside
from tlbench.task import Budget
from tlbench.workshop import PluginSpec, ShopSpec, open_registry, open_shop, plugin_spec

if TYPE_CHECKING:
    import pandas as pd

    from tlbench.boards.values import Board

DEFAULT_OUT = Path("tlbench-run")


@dataclass(frozen=True)
class Options:
    """How a run is done: nothing here may change a score.

    Attributes:
        out: Results folder.
        fresh: Start over in a new folder beside `out`.
        workers: Worker processes; 1 runs cells in this process, so that times mean something.
        retry_failed: Run failed cells again.
        keep_predictions: Keep each prediction beside the statistics.
        command: Command line that reproduces the run, printed on the board.
    """

    out: Path = DEFAULT_OUT
    fresh: bool = False
    workers: int = 1
    retry_failed: bool = False
    keep_predictions: bool = True
    command: str = ""


@dataclass(frozen=True)
class Ran:
    """What a run returns.

    Attributes:
        folder: Results folder.
        plan: All cells of the request.
        records: Records written by this run.
        reused: Number of cells that had a record before.
        markdown: The board.
    """

    folder: Path
    plan: Plan
    records: list[Record] = field(default_factory=list)
    reused: int = 0
    markdown: str = ""

    @property
    def failures(self) -> list[Record]:
        """Return the records of the request's cells that failed, in this run or in the one that it resumed."""
        content = json.loads((self.folder / "board.json").read_text(encoding="utf-8"))
        if not any(row["states"]["failed"] for row in content["rows"]):
            return []
        wanted = {cell.key for cell in self.plan.cells}
        records, _ = current(Store(self.folder).load())
        return [record for record in records if record.status == "failed" and record.key in wanted]


def execute(
    request: Request,
    options: Options,
    source: DataSource,
    plugins: PluginSpec,
    reporter: Reporter | None = None,
    registry: Registry | None = None,
) -> Ran:
    """Run a request to its end and render the board.

    Raises:
        UserError: wrong usage, or a results folder that cannot be used.
        RankLostError: among several ranks, one failed where the others could not notice.
    """
    if options.workers < 1:
        raise UserError(f"--workers is {options.workers}: give 1 or more")
    registry = registry or open_registry(plugins)
    plan = make_plan(request, registry, source)
    folder = fresh_folder(options.out) if options.fresh else options.out
    store = Store(folder)
    rank = int(os.environ.get("RANK", "0"))
    if rank != 0:
        return _follow(request, options, source, plugins, registry, plan, store)
    with lock(folder):
        check_free(folder)
        store.check()
        work = todo(plan, store, options.retry_failed)
        records = _work(request, options, source, plugins, registry, work, store, reporter or Silent())
        markdown = render_folder(folder)
    return Ran(folder, plan, records, work.done, markdown)


def _follow(
    request: Request,
    options: Options,
    source: DataSource,
    plugins: PluginSpec,
    registry: Registry,
    plan: Plan,
    store: Store,
) -> Ran:
    """Take part in the cells that rank 0 chooses."""
    _work(request, options, source, plugins, registry, todo(plan, store, options.retry_failed), store, Silent())
    return Ran(store.folder, plan)


def _work(
    request: Request,
    options: Options,
    source: DataSource,
    plugins: PluginSpec,
    registry: Registry,
    work: Todo,
    store: Store,
    reporter: Reporter,
) -> list[Record]:
    """Run the open cells in this process, or in workers; torch is imported only if there are any."""
    if not work.cells and int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return []
    spec = shop_spec(request, options, source, plugins, registry)
    shop = open_shop(spec, registry)
    shop.progress = reporter.progress
    alone = shop.place.world == 1
    try:
        work = shop.place.from_first(work)  # ranks may see different files: rank 0 decides
        # A launcher sends SIGTERM to the ranks beside one that was killed, which must count as an attempt.
        with unwinding(wanted=alone):
            if options.workers > 1 and alone:
                from tlbench.executors.workers import run_in_workers

                return run_in_workers(work, spec, shop, store, reporter)
            return run_here(work, shop, store, reporter)
    finally:
        shop.place.close()


def shop_spec(
    request: Request, options: Options, source: DataSource, plugins: PluginSpec, registry: Registry
) -> ShopSpec:
    """Return the shop of a run as data: workers share the cores, or take one GPU each."""
    import torch

    gpus: tuple[str, ...] = ()
    if torch.cuda.is_available():
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        gpus = tuple(visible.split(",")) if visible else tuple(str(i) for i in range(torch.cuda.device_count()))
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return ShopSpec(
        plugins,
        source,
        request.precision,
        "quick",
        options.command,
        options.workers,
        max(1, cores // options.workers),
        gpus,
        options.keep_predictions,
        registry.named,
    )


class Asked(TypedDict, total=False):
    """What `run` and `plan` take beside the tasks; left out, each has the default of its flag (environment included).

    Attributes:
        strategies: Strategy specifications.
        models: Model names, Hub ids or folders; none takes the default model of each kind.
        budgets: Label budgets, whole numbers or `full`; none takes each task's default.
        replicates: Replicates of each condition.
        suite: Suite that `all` means.
        precision: `auto`, `fp32` or `bf16`.
        out: Results folder; finished cells in it are reused.
        fresh: Start over in a new folder beside `out`.
        workers: Worker processes.
        retry_failed: Run failed cells again.
        keep_predictions: Keep each prediction beside the statistics.
        mirror: Folder laid out as the Hub.
        any_rows: Accept other rows of a mirror than the pinned ones, under other keys.
        offline: Never open a socket.
        plugins: Python files with tasks or strategies.
        strict: Make faults of installed plugins errors; else they are warnings.
        data: Data files, or TOML files that describe them: tasks that need no code.
        text: Column of the text in `data`; so `text_pair`, `label`, and `kind` for the task's kind.
        sources: Source tasks of the strategies that have one, each once; `all` is every task of the suite. The same
            without a source is run too, so that the board says what each adds.
        label_noise: Share of the training and validation labels that is made wrong.
        ablate: Run each strategy once more without each of its parts, unless that would be another method.
    """

    strategies: str | Sequence[str]
    models: str | Sequence[str]
    budgets: Budget | str | Sequence[Budget | str]
    replicates: int
    suite: str
    precision: PrecisionPolicy
    out: str | Path
    fresh: bool
    workers: int
    retry_failed: bool
    keep_predictions: bool
    mirror: str | Path | None
    any_rows: bool
    offline: bool
    plugins: str | Path | Sequence[str | Path]
    strict: bool
    data: str | Path | Sequence[str | Path]
    text: str
    text_pair: str
    label: str
    kind: str
    sources: str | Sequence[str]
    label_noise: float
    ablate: bool


def run(tasks: str | Sequence[str] = "all", **asked: Unpack[Asked]) -> pd.DataFrame:
    """Run every model x strategy x task combination and return the board's rows.

    Args:
        tasks: Task names, or `all`.
        asked: See `Asked`.

    Returns:
        One row per condition, as `tlbench.board` returns them; among several ranks nothing on all but the first.

    Raises:
        UserError: wrong usage; one sentence.
    """
    import pandas as pd

    request, source, plugins = requested(tasks, asked)
    options = Options(
        Path(asked.get("out", DEFAULT_OUT)),
        asked.get("fresh", False),
        asked.get("workers", 1),
        asked.get("retry_failed", False),
        asked.get("keep_predictions", True),
    )
    registry = _opened(plugins)
    ran = execute(request, options, source, plugins, registry=registry)
    return board(ran.folder) if ran.markdown else pd.DataFrame()


def plan(tasks: str | Sequence[str] = "all", **asked: Unpack[Asked]) -> pd.DataFrame:
    """Return the cells that `run` with the same arguments would take.

    Args:
        tasks: Task names, or `all`.
        asked: See `Asked`.

    Returns:
        One row per cell in the order in which they run: `key`, `task`, `model`, `strategy`, `budget`, `replicate`,
        `done` (it has a record already) and `unsupported` (why the combination has no meaning, or an empty text).

    Raises:
        UserError: wrong usage; one sentence.
    """
    import pandas as pd

    request, source, plugins = requested(tasks, asked)
    registry = _opened(plugins)
    keys = set() if asked.get("fresh") else Store(Path(asked.get("out", DEFAULT_OUT))).keys()
    made = make_plan(request, registry, source)
    return pd.DataFrame(
        [
            {
                "key": cell.key,
                "task": cell.condition.task.name,
                "model": cell.condition.model.name if cell.condition.model else "",
                "strategy": cell.condition.strategy.name,
                "budget": cell.condition.budget,
                "replicate": cell.replicate,
                "done": cell.key in keys,
                "unsupported": made.unsupported.get(cell.key, ""),
            }
            for cell in made.cells
        ]
    )


def _opened(plugins: PluginSpec) -> Registry:
    registry = open_registry(plugins)
    for fault in registry.faults:
        warnings.warn(fault, stacklevel=3)
    return registry


def requested(tasks: str | Sequence[str], asked: Asked) -> tuple[Request, DataSource, PluginSpec]:
    """Return what is asked for as values: which cells, from where the data comes, which plugins there are.

    Raises:
        UserError: an argument that there is not, or one that is impossible.
    """
    for name in asked:
        known(dict.fromkeys(Asked.__annotations__), name, "argument")
    usual = Request()
    request = Request(
        _names(tasks),
        _names(asked.get("strategies", usual.strategies)),
        _names(asked.get("models", ())),
        _budgets(asked.get("budgets", ())),
        asked.get("replicates", usual.replicates),
        asked.get("suite", usual.suite),
        asked.get("precision", usual.precision),
        _names(asked.get("sources", ())),
        asked.get("label_noise", usual.label_noise),
        asked.get("ablate", usual.ablate),
    )
    mirror = asked.get("mirror") or os.environ.get("TLBENCH_MIRROR")
    offline = asked.get("offline", offline_wanted())
    source = mirrored(Path(mirror) if mirror else None, offline, asked.get("any_rows", False))
    columns = {"text": asked.get("text"), "text_pair": asked.get("text_pair"), "label": asked.get("label"),
               "kind": asked.get("kind")}
    plugins = plugin_spec(
        _paths(asked.get("plugins", ())), _paths(asked.get("data", ())), columns, asked.get("strict", False)
    )
    return request, source, plugins


def _budgets(given: Budget | str | Sequence[Budget | str]) -> tuple[Budget, ...]:
    listed = split_outside(given, ",") if isinstance(given, str) else [given] if isinstance(given, int) else given
    return tuple(map(budget_of, listed))


def _paths(given: str | Path | Sequence[str | Path]) -> list[Path]:
    return [Path(given)] if isinstance(given, str | Path) else list(map(Path, given))


def board(
    folder: str | Path,
    tasks: str | Sequence[str] = (),
    strategies: str | Sequence[str] = (),
    models: str | Sequence[str] = (),
) -> pd.DataFrame:
    """Return the board of a results folder, one row per condition.

    Args:
        folder: Results folder.
        tasks: Tasks to show; none shows all. The numbers and verdicts are those of the whole board.
        strategies: Strategies to show, named as the board does.
        models: Models to show.

    Raises:
        UserError: the folder holds no records, a record was changed, or the board has no such row.
    """
    return frame(view(folder, tasks, strategies, models))


def view(
    folder: str | Path,
    tasks: str | Sequence[str] = (),
    strategies: str | Sequence[str] = (),
    models: str | Sequence[str] = (),
) -> Board:
    """Return what `board` shows, as values.

    Raises:
        UserError: as `board`.
    """
    from tlbench.boards.rows import build, select

    if not Path(folder).is_dir():
        raise UserError(f"results folder {str(folder)!r} does not exist: run tlbench first, or check the path")
    made = build(Store(Path(folder)))
    for noun, names in (("task", _names(tasks)), ("strategy", _names(strategies)), ("model", _names(models))):
        for name in names:
            known(dict.fromkeys(getattr(row, noun) for row in made.rows), name, f"{noun} on this board")
    shown = select(made, tasks=_names(tasks), strategies=_names(strategies), models=_names(models))
    if not shown.rows:
        raise UserError("the board has no row of these tasks, strategies and models together: leave one of them out")
    return shown


def frame(made: Board) -> pd.DataFrame:
    """Return a board's rows as a table; `docs/record.md` lists its columns."""
    import pandas as pd

    from tlbench.boards.document import as_json

    return pd.json_normalize(as_json(made)["rows"])


def command_line(arguments: Sequence[str]) -> str:
    """Return the command that reproduces a run, with the paths that are particular to this machine left out."""
    kept, skip = [], False
    for argument in arguments:
        if skip:
            skip = False
        elif argument in ("--grid", "--out", "--mirror", "--workers"):
            skip = True
        elif not argument.startswith(("--grid=", "--out=", "--mirror=", "--workers=", "--fresh")):
            kept.append(argument)
    return str(storable(shlex.join(["tlbench", *kept])))


def _names(given: str | Sequence[str]) -> tuple[str, ...]:
    return tuple(split_outside(given, ",")) if isinstance(given, str) else tuple(given)


__all__ = ["Asked", "Options", "Ran", "board", "execute", "plan", "run"]
