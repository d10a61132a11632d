"""The command line: reads flags, calls the API, prints. `--help`, `list` and `board` never import torch."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from tlbench import __version__
from tlbench.errors import RankLostError, UserError
from tlbench.pretraining import pretrain_command


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="tlbench")
def cli() -> None:
    """Does transfer help here, by how much, is it real, what does it cost?

    Runs every model x strategy x task combination and puts each beside a no-transfer baseline.
    """


def plugin_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the flags that say which plugins and data there are."""
    for option in reversed(
        (
            click.option(
                "--plugin",
                "plugins",
                multiple=True,
                type=click.Path(path_type=Path),
                metavar="FILE.py",
                help="A Python file with tasks or strategies; may be given several times.",
            ),
            click.option(
                "--data",
                multiple=True,
                type=click.Path(path_type=Path),
                metavar="FILE",
                help="A data-only task: CSV, TSV, JSON Lines, Parquet, .npz, .npy, or a TOML file that describes some.",
            ),
            click.option("--text", metavar="COLUMN", help="Text column of --data (default: text)."),
            click.option("--text-pair", metavar="COLUMN", help="Column of the second text of --data."),
            click.option("--label", metavar="COLUMN", help="Label column of --data (default: label)."),
            click.option(
                "--kind", metavar="KIND", help="Kind of the --data task, if it cannot be told from the columns."
            ),
            click.option("--strict", is_flag=True, help="Make faults of installed plugins errors."),
        )
    ):
        command = option(command)
    return command


def _take_grid_file(context: click.Context, parameter: click.Parameter, path: Path | None) -> None:
    """Let a grid file stand for the flags that neither the command line nor the environment gives."""
    if path is None:
        return
    from tlbench.gridfile import read

    given = read(path)
    context.default_map = {
        str(each.name): given[flag] for each in context.command.params if (flag := _flag(each)) in given
    }


def _flag(parameter: click.Parameter) -> str:
    return parameter.opts[0].removeprefix("--")


def _command() -> str:
    """Return the command that reproduces this run: what a grid file said is written out as flags."""
    from tlbench import api

    context = click.get_current_context()
    if not context.default_map:
        return api.command_line(sys.argv[1:])
    from tlbench.gridfile import flags

    said = {
        _flag(each): context.default_map[each.name]
        for each in context.command.params
        if each.name and context.get_parameter_source(each.name) is ParameterSource.DEFAULT_MAP
    }
    return api.command_line([*sys.argv[1:], *flags(said)])


_GRID_OPTIONS = (
    click.option("--grid", type=click.Path(path_type=Path), metavar="FILE.toml", is_eager=True, expose_value=False,
                 callback=_take_grid_file,
                 help="A TOML file with a key for each flag of run; a flag given here wins over its key."),
    click.option("--tasks", default="all", show_default=True, metavar="A,B",
                 help="Task names; all is every task of the suite and of every plugin."),
    click.option("--strategies", metavar="A,B+C",
                 help="Strategies: names, name(field=value), or compositions with +."),
    click.option("--models", default="", metavar="A,B",
                 help="Model names, folders or Hub ids (owner/name@revision) "
                      "[default: those that stand for the kind]."),
    click.option("--budgets", default="", metavar="K,K", help="Labels per task, or full [default: the task's own]."),
    click.option("--replicates", default=3, show_default=True, help="Replicates of each condition."),
    click.option("--sources", default="", metavar="A,B",
                 help="Source tasks of strategies that have one (all: every task of the suite), each once; the same "
                      "without a source is run too, so that the board says what each adds."),
    click.option("--ablate", is_flag=True,
                 help="Run each strategy once more without each of its parts, unless that would be another method."),
    click.option("--label-noise", default=0.0, metavar="SHARE",
                 help="Share of the training and validation labels to make wrong, e.g. 0.1 [default: 0]."),
    click.option("--suite", default="embedded", show_default=True, help="embedded, applications or public."),
    click.option("--precision", type=click.Choice(["auto", "fp32", "bf16"]), default="auto", show_default=True),
    click.option("--out", type=click.Path(path_type=Path), default=Path("tlbench-run"), show_default=True,
                 help="Results folder; finished cells in it are reused."),
    click.option("--mirror", type=click.Path(path_type=Path), envvar="TLBENCH_MIRROR", metavar="DIR",
                 help="Folder laid out as the Hub, read instead of it [env: TLBENCH_MIRROR]."),
    click.option("--any-rows", is_flag=True, help="Accept a mirror whose rows are not the published ones."),
    click.option("--offline", is_flag=True, envvar="HF_HUB_OFFLINE", help="Never open a socket."),
)


def grid_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the flags that say which cells there are."""
    for option in reversed(_GRID_OPTIONS):
        command = option(command)
    return plugin_options(command)


@cli.command("run")
@grid_options
@click.option("--fresh", is_flag=True, help="Start over in a new folder beside --out; nothing is deleted.")
@click.option("--workers", default=1, show_default=True, help="Independent cells side by side.")
@click.option("--retry-failed", is_flag=True, help="Run failed cells again.")
@click.option("--no-predictions", is_flag=True, help="Keep statistics only, no predicted text.")
@click.option("--json", "as_json", is_flag=True, help="Print the board as JSON instead of markdown.")
def run_command(**given: Any) -> None:
    """Run the grid, resuming what is there, and end with the leaderboard."""
    from tlbench import api
    from tlbench.display import Display
    from tlbench.published import differences, leaks
    from tlbench.workshop import open_registry

    request, source, plugins = _request(given)
    registry = open_registry(plugins)
    _report_faults(registry.faults)
    options = api.Options(
        given["out"],
        given["fresh"],
        given["workers"],
        given["retry_failed"],
        not given["no_predictions"],
        _command(),
    )
    with Display(quiet=given["as_json"]) as display:
        ran = api.execute(request, options, source, plugins, display, registry)
    if not ran.markdown:  # a rank that only took part
        return
    click.echo((ran.folder / "board.json").read_text(encoding="utf-8") if given["as_json"] else ran.markdown)
    _say(f"{len(ran.records)} cells run, {ran.reused} reused; board: {ran.folder / 'README.md'}")
    for name, reason in ran.plan.unavailable.items():
        _say(f"left out: {name}: {reason}")
    for note in (*differences(ran.plan.cells), *leaks(ran.plan.cells, registry, source)):
        _say(f"note: {note}")
    if ran.failures:
        _say(f"{len(ran.failures)} cells failed (--retry-failed runs them again); the first: {ran.failures[0].reason}")
        sys.exit(1)


@cli.command("plan")
@grid_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def plan_command(**given: Any) -> None:
    """Say what would run, what is reused, how long it takes and how much disk it needs."""
    from tlbench.estimate import estimate
    from tlbench.workshop import open_registry

    request, source, plugins = _request(given)
    registry = open_registry(plugins)
    _report_faults(registry.faults)
    made = estimate(request, registry, source, plugins, given["out"], _say)
    click.echo(json.dumps(made.as_json(), indent=1) if given["as_json"] else made.text())


@cli.command("list")
@click.argument("what", type=click.Choice(["tasks", "strategies", "models"]))
@plugin_options
@click.option("--matrix", is_flag=True, help="For strategies: which kinds and families each supports.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_command(what: str, matrix: bool, as_json: bool, **given: Any) -> None:
    """List the tasks, strategies or models that are installed or given."""
    from tlbench.listing import matrix_rows, rows
    from tlbench.workshop import open_registry

    registry = open_registry(_plugins(given))
    _report_faults(registry.faults)
    table = matrix_rows(registry) if matrix and what == "strategies" else rows(registry, what)
    if as_json:
        click.echo(json.dumps(table, indent=1))
        return
    from tabulate import tabulate

    click.echo(tabulate(table, headers="keys", tablefmt="simple"))
    if matrix:
        click.echo("\ne: encoders, d: decoders, s: encoder-decoders (sequence to sequence); yes: uses no model; -: "
                   "unsupported")


@cli.command("board")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--format", "form", type=click.Choice(["md", "json", "csv"]), default="md", show_default=True)
@click.option("--write", type=click.Path(path_type=Path), metavar="FILE", help="Write to a file instead of printing.")
@click.option("--plots", type=click.Path(path_type=Path), metavar="FOLDER",
              help="Write learning curves and transfer matrices as PNG files there (needs matplotlib).")
@click.option("--tasks", default="", metavar="A,B", help="Show these tasks only; numbers and verdicts stay.")
@click.option("--strategies", default="", metavar="A,B+C", help="Show these strategies only, named as the board does.")
@click.option("--models", default="", metavar="A,B", help="Show these models only.")
def board_command(folder: Path, form: str, write: Path | None, plots: Path | None, **shown: str) -> None:
    """Render the leaderboard of a results folder from its records."""
    from tlbench import api
    from tlbench.boards.document import as_json
    from tlbench.boards.markdown import render

    made = api.view(folder, **shown)
    if plots is not None:
        from tlbench.boards import curves, transfer

        for path in (*curves.plot(made, plots), *transfer.plot(made, plots)):
            _say(f"written: {path}")
    if form == "csv":
        text = api.frame(made).to_csv(index=False)
    else:
        text = render(made) if form == "md" else json.dumps(as_json(made), indent=1, ensure_ascii=False) + "\n"
    if write is None:
        click.echo(text, nl=False)
        return
    try:
        write.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"{str(write)!r} cannot be written to ({error.strerror}): give another --write") from error


@cli.command("show")
@click.argument("cell")
@click.option(
    "--in",
    "folder",
    type=click.Path(path_type=Path),
    default=Path("tlbench-run"),
    show_default=True,
    help="Results folder.",
)
def show_command(cell: str, folder: Path) -> None:
    """Show one cell: scores by class, loss curves, confusion matrix, sample predictions.

    CELL is the beginning of a cell's key, as board.json ("keys" of a row) and the names of the records have it.
    """
    from tlbench.boards import show
    from tlbench.records import Store

    click.echo(show.render(Store(folder), cell))


@cli.command("verify")
@click.argument("folder", type=click.Path(path_type=Path))
def verify_command(folder: Path) -> None:
    """Check every record and prediction file of a folder against its hash."""
    from tlbench.records import Store

    store = Store(folder)
    records = store.load()
    if not records:
        raise UserError(f"results folder {str(folder)!r} holds no records: run tlbench first, or check the path")
    for record in records:
        if record.predictions:
            store.predictions(record)
    click.echo(f"{len(records)} records in {folder}: all whole and unchanged")


@cli.command("check")
@click.argument("name")
@plugin_options
@click.option("--mirror", type=click.Path(path_type=Path), envvar="TLBENCH_MIRROR", metavar="DIR",
              help="Folder laid out as the Hub [env: TLBENCH_MIRROR].")
@click.option("--offline", is_flag=True, envvar="HF_HUB_OFFLINE", help="Never open a socket.")
def check_command(name: str, mirror: Path | None, offline: bool, **given: Any) -> None:
    """Check a task or strategy against the contract that plugins keep."""
    from tlbench import checks
    from tlbench.registry import known
    from tlbench.sources import DataSource
    from tlbench.workshop import open_registry

    registry = open_registry(_plugins(given))
    _report_faults(registry.faults)
    known({**registry.tasks, **registry.strategies}, name, "task or strategy")
    reports = []
    if name in registry.tasks:
        reports.append(checks.check_task(registry.tasks[name], DataSource(mirror=mirror, offline=offline)))
    if name in registry.strategies:
        reports.append(checks.check_strategy(registry.strategies[name]))
    click.echo("\n".join(report.text() for report in reports))
    if not all(report.ok for report in reports):
        sys.exit(1)


cli.add_command(pretrain_command)


def _plugins(given: dict[str, Any]) -> Any:
    from tlbench.workshop import plugin_spec

    columns = {name: given[name] for name in ("text", "text_pair", "label", "kind")}
    return plugin_spec(given["plugins"], given["data"], columns, given["strict"])


def _request(given: dict[str, Any]) -> Any:
    """Return what the flags ask for; an empty one has its default."""
    from tlbench import api

    asked: Any = {name: given[name] for name in api.Asked.__annotations__ if given.get(name) not in (None, "")}
    return api.requested(given["tasks"], asked)


def _report_faults(faults: list[str]) -> None:
    for fault in faults:
        _say(f"warning: {fault}")


def _say(text: str) -> None:
    click.echo(text, err=True)


def main() -> None:
    """Run the command line; a user's mistake is one sentence and exit code 2, never a traceback."""
    # Spinning OpenMP threads slow a shared machine down several times; a user's own setting stands.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8")  # a board holds more than Latin-1, and it must not lose a mark
    if isinstance(sys.stderr, io.TextIOWrapper):
        sys.stderr.reconfigure(errors="replace")
    try:
        cli(standalone_mode=False)
    except UserError as error:
        _say(f"error: {error}")
        sys.exit(2)
    except RankLostError as error:
        _say(f"error: {error}")
        sys.exit(1)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except (click.exceptions.Abort, KeyboardInterrupt):
        _say("stopped; the same command goes on where this one ended")
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(0)
