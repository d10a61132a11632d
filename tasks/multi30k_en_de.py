"""Multi30k: image captions, English to German."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tlbench import Example, GenerationExample, HubFiles, HubTask


class Multi30kEnDe(HubTask):
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
    columns = ("en", "de")
    rows_sha256 = {
        "train": "1e50e03bef4b70c1e4b20e071bfa9a0d15aee5459c558ceedf7a4ef4077df7f2",
        "validation": "4cc150806f5bd09bdf8ddce92c7d2f8715ad3570dae74b9df8e5ad00198f9e75",
        "test": "cb6dbf7019660f42a60143c3171e79f4e3ba0db5aacbd933dcc9253414611f44",
    }

    def to_example(self, name: str, row: Mapping[str, Any]) -> Example:
        """Return a caption with its translation."""
        return GenerationExample(name, row["en"], (row["de"],))
