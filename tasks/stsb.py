"""STS-B: how similar two sentences are, as a number."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tlbench import Example, HubFiles, HubTask, TextExample


class Stsb(HubTask):
    """Semantic similarity of sentence pairs, 0 to 1 (Cer et al. 2017, SemEval; S17-2001).

    Splits, all official: train 5,749, validation 1,500, test 1,379. The authors' scores (0 to 5) come divided
    by 5.

    Caveat: the sentences come from news, forums and image captions (Flickr30k among them), which sentence
    encoders have often been trained on; the leak flag says so. On the Hub the files lie under `data/`; a
    mirror may drop it.
    """

    name = "stsb"
    kind = "text-regression"
    summary = "similarity of sentence pairs, 0 to 1"
    licence = "CC BY-SA 4.0"
    homepage = "https://huggingface.co/datasets/sentence-transformers/stsb"
    suite = "public"
    metric = "pearson"
    default_budget = 1000
    sources = ("stsb", "flickr30k")
    test_cap = 2000
    template = "Similarity of two sentences, from 0 to 1.\n\nFirst: {text}\nSecond: {text_pair}\nSimilarity:"

    hub = HubFiles("sentence-transformers/stsb", "ab7a5ac0e35aa22088bdcf23e7fd99b220e53308", {
        "train": ("data/train-00000-of-00001.parquet",),
        "validation": ("data/validation-00000-of-00001.parquet",),
        "test": ("data/test-00000-of-00001.parquet",),
    })
    columns = ("sentence1", "sentence2", "score")
    rows_sha256 = {
        "train": "f19df8fe4fd22da2d8d2480ef6cb86a4e7b5e0ec188955ee3d8c08fa6772cc38",
        "validation": "4dce8b8186c53dcf47b8993a532babe0468ec0739afa79a270d7352d28261fe8",
        "test": "79512946dc02490ccbd921451057d042805db2e8576cedd3659fbd00ada8e45c",
    }

    def to_example(self, name: str, row: Mapping[str, Any]) -> Example:
        """Return a pair with its score."""
        return TextExample(name, row["sentence1"], float(row["score"]), text_pair=row["sentence2"])
