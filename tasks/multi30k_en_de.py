"""Multi30k: image captions, English to German."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tlbench import DataSource, GenerationExample, HubFiles, Splits, Task


class Multi30kEnDe(Task):
    """Captions of Flickr30k images translated by professionals (Elliott et al. 2016, W16-3210).

    Splits, all official: train 29,000, validation 1,014, test 1,000 (`2016 Flickr`).

    Caveats: no commit of the repository could be verified when this was written, so the Hub is read at
    `main` and the rows are pinned; the pinned train and test rows were verified to be the Hub's (by the
    published SHA-256 of its files). One domain, short sentences: a good score says little about translation
    at large. For research use only.
    """

    name = "multi30k-en-de"
    kind = "text-generation"
    summary = "image captions, English to German"
    licence = "research use"
    homepage = "https://huggingface.co/datasets/bentrevett/multi30k"
    languages = ("en", "de")
    suite = "public"
    metric = "chrf"
    default_budget = 1000
    sources = ("multi30k", "flickr30k")
    test_cap = 2000
    template = "English: {source}\nGerman:"

    hub = HubFiles("bentrevett/multi30k", "main", {
        "train": ("train.jsonl",),
        "validation": ("val.jsonl",),
        "test": ("test.jsonl",),
    })
    rows_sha256: Mapping[str, str] = {
        "train": "1e50e03bef4b70c1e4b20e071bfa9a0d15aee5459c558ceedf7a4ef4077df7f2",
        "validation": "4cc150806f5bd09bdf8ddce92c7d2f8715ad3570dae74b9df8e5ad00198f9e75",
        "test": "cb6dbf7019660f42a60143c3171e79f4e3ba0db5aacbd933dcc9253414611f44",
    }

    def load(self, source: DataSource) -> Splits:
        """Return the three official splits."""
        return Splits(train=self._examples(source, "train"), validation=self._examples(source, "validation"),
                      test=self._examples(source, "test"))

    def _examples(self, source: DataSource, split: str) -> list[GenerationExample]:
        rows = source.rows(self.hub, split, columns=("en", "de"), expected=self.rows_sha256.get(split))
        return [GenerationExample(f"{split}-{index}", row["en"], (row["de"],))
                for index, row in enumerate(rows)]

    def identity(self, source: DataSource) -> Mapping[str, Any]:
        """Return the pinned rows, or the Hub's revision."""
        return source.pins(self.hub, self.rows_sha256)

    def unavailable(self, source: DataSource) -> str | None:
        """Return why the files cannot be had here."""
        return source.missing(self.hub)
