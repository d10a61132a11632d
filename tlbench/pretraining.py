"""`tlbench pretrain`: flags to a job. `--help` never imports torch."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tlbench.errors import UserError
from tlbench.setups import Pretraining, Shape
from tlbench.sources import DataSource

if TYPE_CHECKING:
    from tlbench.corpora.documents import Documents
    from tlbench.engine.place import Place
    from tlbench.engine.pretraining.start import Start

_SHAPE = ("family", "layers", "width", "vocabulary")
_RECIPE = ("tokens", "minutes", "batch", "length", "noise", "span", "step_size", "seed")


@dataclass(frozen=True)
class Order:
    """What a user asks for.

    Attributes:
        out: Folder of the model.
        texts: Text files or folders of them.
        unit: What one document of a text file is.
        data: A data file or a saved dataset, instead of text files.
        column: Its text column.
        model: Name or folder of a model to go on from; empty starts from `shape` at random.
        random: Take the model's architecture and tokenizer, but random weights.
        shape: Architecture of a new model.
        recipe: Fields of the recipe that differ from the family's usual ones.
        objective: Objective, if not the family's own.
        dtype: In what the weights are stored.
        precision: Precision policy.
        compiled: Whether `torch.compile` fuses the step.
        every: Seconds between checkpoints.
    """

    out: Path
    texts: tuple[Path, ...] = ()
    unit: str = "paragraph"
    data: Path | None = None
    column: str = "text"
    model: str = ""
    random: bool = False
    shape: Shape = field(default_factory=Shape)
    recipe: Mapping[str, Any] | None = None
    objective: str | None = None
    dtype: str = "bfloat16"
    precision: str = "auto"
    compiled: bool = False
    every: float = 120.0


@click.command("pretrain")
@click.option("--out", required=True, type=click.Path(path_type=Path), metavar="DIR", help="Folder of the model.")
@click.option("--text", "texts", multiple=True, type=click.Path(path_type=Path), metavar="FILE|DIR",
              help="UTF-8 text files, or folders of .txt and .md files; may be given several times [default without "
                   "--data: the training side of the embedded text].")
@click.option("--per", "unit", type=click.Choice(["paragraph", "line", "file"]), default="paragraph", show_default=True,
              help="What one document of --text is; paragraphs lie between blank lines.")
@click.option("--data", type=click.Path(path_type=Path), metavar="FILE|DIR",
              help="CSV, TSV, JSON Lines or Parquet, or a folder made by a dataset's save_to_disk.")
@click.option("--column", default="text", show_default=True, help="Text column of --data.")
@click.option("--model", default="", metavar="NAME|DIR", help="Go on from this model instead of random weights.")
@click.option("--random", is_flag=True, help="Take the architecture and tokenizer of --model, but random weights.")
@click.option("--family", type=click.Choice(["encoder", "decoder", "encoder-decoder"]),
              help="Family of a new model: BERT, GPT-2 or T5 [default: encoder-decoder].")
@click.option("--objective", type=click.Choice(["masked", "causal", "span-corruption"]), default=None,
              help="[default: the family's own]")
@click.option("--layers", type=int, help=f"Layers; in each half of an encoder-decoder [default: {Shape.layers}].")
@click.option("--width", type=int, help=f"Size of the hidden states [default: {Shape.width}].")
@click.option("--vocabulary", type=int, help=f"Tokens of the new tokenizer at most [default: {Shape.vocabulary}].")
@click.option("--tokens", type=int, default=Pretraining.tokens, show_default=True, help="Budget in corpus tokens.")
@click.option("--minutes", type=float, help="Training time after which the schedule ends as well.")
@click.option("--batch", type=int, default=Pretraining.batch, show_default=True, help="Sequences per step.")
@click.option("--length", type=int, help="Tokens per sequence [default: 128, or 141 with spans].")
@click.option("--noise", type=float, default=Pretraining.noise, show_default=True, help="Share of tokens masked.")
@click.option("--span", type=float, default=Pretraining.span, show_default=True, help="Mean length of a masked span.")
@click.option("--step-size", type=float, help="Peak learning rate; relative for T5-like models.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of weights, data order and masks.")
@click.option("--dtype", type=click.Choice(["bfloat16", "float32"]), default="bfloat16", show_default=True,
              help="In what the weights are stored.")
@click.option("--precision", type=click.Choice(["auto", "fp32", "bf16"]), default="auto", show_default=True)
@click.option("--compile", "compiled", is_flag=True,
              help="Fuse the step by torch.compile: about 1.8 times as fast for small models on a CPU; needs a C++ "
                   "compiler, and compiling takes up to a minute.")
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads [default: torch's own].")
@click.option("--checkpoint-every", "every", type=float, default=120.0, show_default=True, metavar="SECONDS",
              help="A killed run loses at most this.")
@click.option("--offline", is_flag=True, envvar="HF_HUB_OFFLINE", help="Never open a socket.")
def pretrain_command(**given: Any) -> None:
    """Pre-train a model on unlabelled text; the same command goes on where a stopped one ended."""
    shape = {name: given[name] for name in _SHAPE if given[name] is not None}
    if given["random"] and not given["model"]:
        raise UserError("--random was given without --model: a new model starts from random weights anyway")
    if given["model"] and shape:
        raise UserError(f"--model was given beside --{next(iter(shape))}: a model to go on from has its own shape")
    recipe = {name: given[name] for name in _RECIPE if given[name] is not None}
    order = Order(shape=Shape(**shape), recipe=recipe, **{name: given[name] for name in (
        "out", "texts", "unit", "data", "column", "model", "random", "objective", "dtype", "precision", "compiled",
        "every")})
    execute(order, DataSource(offline=given["offline"]), given["threads"])


def execute(order: Order, source: DataSource, threads: int | None = None) -> Mapping[str, Any]:
    """Pre-train what is asked for and return the facts of the model.

    Raises:
        UserError: the order is impossible; one sentence.
    """
    import torch

    from tlbench.engine.place import Place
    from tlbench.engine.pretraining.result import check_output, make_model
    from tlbench.engine.pretraining.training import Bench, Job, check
    from tlbench.workshop import quiet

    out = _out(order.out)
    check_output(out)
    quiet()
    if threads:
        torch.set_num_threads(threads)
    place = Place()
    try:
        start = start_of(order, source)
        recipe = recipe_of(order, start)
        check(recipe, start, place.world)  # before any text is read
        job = Job(read(order, source), start, recipe, order.dtype, order.compiled)  # type: ignore[arg-type]
        precision = _precision(order, place, source)
        facts = make_model(job, Bench(place, precision, source.cache, _say, order.every), out)
        if place.rank == 0:
            _say(f"{order.out}: held-out {facts['held_out']:.3f} nats (unigram {facts['unigram']:.3f}, trigram "
                 f"{facts['trigram']:.3f}), {facts['tokens'] / 1e6:.2f} M tokens")
        return facts
    finally:
        place.close()


def _out(given: Path) -> Path:
    """Return the folder of the model, links followed, once it is sure that it can be made there.

    Raises:
        UserError: it is this folder or a mount point, or its parent cannot be written to.
    """
    try:
        out = given.expanduser().resolve()
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out.parent):
            pass
    except (OSError, RuntimeError) as error:  # a loop of links, or an unknown ~user, is a RuntimeError
        raise UserError(f"{str(given)!r} cannot be made ({getattr(error, 'strerror', None) or error}): give another "
                        "--out") from error
    if out == Path.cwd() or out.is_mount():
        what = "the folder that you are in" if out == Path.cwd() else "a mount point"
        raise UserError(f"--out is {what}, which cannot be replaced: give a folder inside it")
    return out


def read(order: Order, source: DataSource) -> Documents:
    """Return the documents of an order.

    Raises:
        UserError: a file is missing or unreadable, there is too little text, or both kinds of input are given.
    """
    from tlbench.corpora import documents

    if order.texts and order.data:
        raise UserError("--text and --data were both given: give one of them")
    if order.texts:
        return documents.from_files(order.texts, order.unit)  # type: ignore[arg-type]
    return documents.from_column(order.data, order.column) if order.data else documents.embedded(source)


def start_of(order: Order, source: DataSource) -> Start:
    """Return the shape, or the model to go on from or to take the architecture of.

    Raises:
        UserError: there is no such model, or it has no weights.
    """
    if not order.model:
        return order.shape
    from tlbench.engine.families import Source
    from tlbench.engine.pretraining.start import Untrained
    from tlbench.references import model_named
    from tlbench.workshop import PluginSpec, open_registry

    model = model_named(order.model, open_registry(PluginSpec()))
    found = Source(model, model.architecture(source.offline), generates=True, offline=source.offline)
    return Untrained(found) if order.random else found


def recipe_of(order: Order, start: Start) -> Pretraining:
    """Return the family's usual recipe with the order's own numbers."""
    from tlbench.engine.pretraining.start import family_of, source_of
    from tlbench.recipes import default_pretraining

    model_type = "t5" if isinstance(start, Shape) else source_of(start).architecture.model_type
    usual = default_pretraining(family_of(start), model_type, goes_on=bool(order.model) and not order.random)
    objective = {"objective": order.objective} if order.objective else {}
    return replace(usual, **{**(order.recipe or {}), **objective})


def _precision(order: Order, place: Place, source: DataSource) -> Any:
    from tlbench.engine.precision import choose

    chosen = choose(order.precision, place.device, source.cache) if place.rank == 0 else None  # type: ignore[arg-type]
    return place.from_first(chosen)


def _say(line: str) -> None:
    click.echo(line, err=True)
