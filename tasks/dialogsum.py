"""DialogSum: what was said in everyday conversations, in a sentence or two."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tlbench import DataSource, GenerationExample, HubFiles, Splits, Task


class DialogSum(Task):
    """Dialogue to summary (Chen et al. 2021, Findings of ACL; 2021.findings-acl.449): real-life conversations.

    Splits, all official: train 12,460, validation 500, test 500 dialogues (the authors' counts; the test file repeats
    each dialogue once per reference). Speakers are `#Person1#` and so on. Rows with the same dialogue become one
    example with several references; with several references each metric takes the best one.

    Caveats: dialogues are longer than the recipe's input, so trained models read their beginnings. The Hub could not
    be reached when this was written: neither a commit nor the rows could be verified, so it is read at the branch
    `main`, nothing is pinned, and a mirror is identified by the hash of its files. Not for commercial use; the
    dialogues belong to their authors.
    """

    name = "dialogsum"
    kind = "text-generation"
    summary = "everyday conversations, short summaries"
    licence = "CC BY-NC-SA 4.0"
    homepage = "https://huggingface.co/datasets/knkarthick/dialogsum"
    suite = "public"
    default_budget = 1000
    sources = ("dialogsum", "dailydialog", "dream", "mutual")
    test_cap = 2000
    template = "{source}\nSummary:"

    hub = HubFiles("knkarthick/dialogsum", "main", {
        "train": ("train.csv",),
        "validation": ("validation.csv",),
        "test": ("test.csv",),
    })
    rows_sha256: Mapping[str, str] = {}

    def load(self, source: DataSource) -> Splits:
        """Return the three official splits."""
        return Splits(train=self._examples(source, "train"), validation=self._examples(source, "validation"),
                      test=self._examples(source, "test"))

    def _examples(self, source: DataSource, split: str) -> list[GenerationExample]:
        columns = ("dialogue", "summary")
        rows = source.rows(self.hub, split, columns=columns, expected=self.rows_sha256.get(split))
        references: dict[str, list[str]] = {}
        for row in rows:
            dialogue, summary = str(row["dialogue"] or "").strip(), str(row["summary"] or "").strip()
            if dialogue and summary:
                references.setdefault(dialogue, []).append(summary)
        return [GenerationExample(f"{split}-{index}", dialogue, tuple(dict.fromkeys(summaries)))
                for index, (dialogue, summaries) in enumerate(references.items())]

    def identity(self, source: DataSource) -> Mapping[str, Any]:
        """Return the mirror's files, or the Hub's revision."""
        return source.pins(self.hub, self.rows_sha256)

    def unavailable(self, source: DataSource) -> str | None:
        """Return why the files cannot be had here."""
        return source.missing(self.hub)
