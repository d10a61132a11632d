"""Unlabelled text before a cell: weights that are pre-trained on it, as a model to load."""

from __future__ import annotations

from dataclasses import replace

from tlbench.corpora.documents import DECLARED, texts_of_corpus
from tlbench.data import TaskData
from tlbench.engine.bench import Bench
from tlbench.engine.families import Source
from tlbench.engine.pretraining.stage import Checkpoint, pretrained
from tlbench.engine.pretraining.start import Untrained
from tlbench.engine.pretraining.training import Bench as Desk
from tlbench.learned import READ_AGAIN
from tlbench.setups import Continued, Random
from tlbench.task import TaskRef, texts_of

_DECLARED = {"apidoc": DECLARED["apidoc"], "interface": DECLARED["ui-strings"]}
"""Embedded text by its name in a task's identity, and how a model declares that it has read its training side."""


def read(start: Continued, data: TaskData, source: Source, bench: Bench) -> tuple[Checkpoint, Source, frozenset[str]]:
    """Return the checkpoint that a Setup starts from, the model to load for it, and the texts that were read.

    Args:
        start: What is read, and how.
        data: Examples of the target, whose training side may be the text.
        source: The model at hand.
        bench: What it runs on.

    Raises:
        UserError: the corpus is unknown, or too small for the recipe.
    """
    texts = texts_to_read(start.corpus, data, bench)
    desk = Desk(bench.place, bench.precision, bench.cache)
    whole = replace(source, generates=False)
    made = pretrained(texts, Untrained(whole) if isinstance(start.start, Random) else whole, start.recipe, desk)
    model = replace(source.model, reference=str(made.folder), revision=None, sha256=None)
    read = replace(source.architecture, identity={"stage": made.folder.name})
    return made, replace(source, model=model, architecture=read), frozenset(texts)


def texts_to_read(corpus: str, data: TaskData, bench: Bench) -> list[str]:
    """Return the texts of a corpus: `task` is the target's training side, any other is one that was offered.

    Raises:
        UserError: there is no such corpus.
    """
    if corpus == "task":
        return [text for example in data.train for text in texts_of(example)]
    return list(texts_of_corpus(corpus, bench.source))


def title_of(corpus: str, random: bool, source: Source, task: TaskRef) -> str:
    """Return a corpus as records name it, and whether the model declares that it has read it before.

    A task's text counts as read before where the leak flag would be raised (the model's training data include a source
    of the task), and where the model has read the training side of the embedded text that the task is made of.

    Args:
        corpus: `task`, the target's own training side, or the name of a corpus that was offered.
        random: Whether the weights that read it are random ones, which have read nothing.
        source: The model, with what it declares, and the sources of the target.
        task: The target, whose identity names the embedded text it is made of.
    """
    declared = set(source.model.training_sources)
    known = {name for name, side in _DECLARED.items() if side in declared}
    title, before = f"the {corpus} corpora", bool(known)
    if corpus == "task":
        title, before = "the task's text", bool(known & task.identity.keys() or declared & {*source.task_sources})
    return title + (READ_AGAIN if before and not random else "")
