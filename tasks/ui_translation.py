"""ui-translation: strings of user interfaces from English into French."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tlbench import DataSource, GenerationExample, Splits, Task, corpora


class UiTranslation(Task):
    """Translation of interface strings of JupyterLab (and extensions) and Django, placeholders kept.

    Strings have three to forty words, a translation that differs from them, and the same placeholders in both
    languages. A string with several translations has several references; training uses the first.

    Splits: one in four groups of near-duplicates is on the test side, so that "Delete selected files" is
    never tested after "Delete selected file" was learnt.
    """

    name = "ui-translation"
    kind = "text-generation"
    summary = "user interface strings, English to French"
    licence = corpora.interface.LICENCE
    homepage = "https://github.com/jupyterlab/language-packs"
    languages = ("en", "fr")
    suite = "embedded"
    metric = "chrf"
    default_budget = 1000
    sources = ("interface",)
    template = "English: {source}\nFrench:"

    def load(self, source: DataSource) -> Splits:
        """Return both sides of the split."""
        sides: dict[bool, list[GenerationExample]] = {False: [], True: []}
        for message in corpora.interface.messages(source):
            sides[message.test].append(GenerationExample(
                message.key, message.english, message.french, group=f"group-{message.group}"))
        return Splits(sides[False], sides[True], notes=corpora.interface.provenance(source))

    def identity(self, source: DataSource) -> Mapping[str, Any]:
        """Return the fingerprint of the strings."""
        return corpora.interface.identity(source)

    def unavailable(self, source: DataSource) -> str | None:
        """Return which package is missing, if any."""
        return corpora.interface.unavailable(source)
