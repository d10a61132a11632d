"""SST-2: sentiment of sentences from film reviews."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tlbench import Example, HubFiles, HubTask, TextExample


class Sst2(HubTask):
    """Binary sentiment of whole sentences (Socher et al. 2013, EMNLP; D13-1170).

    Splits, all official, sentence level: train 6,920, validation (`dev`) 872, test 1,821 **with labels**.
    GLUE's copy of SST-2 has a hidden test and trains on 67,349 phrases; scores are not comparable with it.

    Caveats: no commit of the repository could be verified when this was written, so the Hub is read at `main`
    and the rows are pinned instead. The pinned rows were rebuilt from the authors' release by a copy that
    replaced hyphens (and some accented letters) by spaces; the Hub's own rows keep them. Records made from
    the one and from the other have different fingerprints and never share a table. The authors state no
    licence.
    """

    name = "sst2"
    kind = "text-classification"
    summary = "sentiment of film review sentences (positive, negative)"
    licence = "not stated"
    homepage = "https://huggingface.co/datasets/SetFit/sst2"
    suite = "public"
    metric = "accuracy"
    default_budget = 1000
    sources = ("sst2",)
    test_cap = None
    template = "Review: {text}\nSentiment:"

    hub = HubFiles("SetFit/sst2", "main", {
        "train": ("train.jsonl",),
        "validation": ("dev.jsonl",),
        "test": ("test.jsonl",),
    })
    columns = ("text", "label_text")
    rows_sha256 = {
        "train": "a3e22290501166643cdd34d225845fd5d2ebea0a6860bf46550ef4aea32a3ed7",
        "validation": "89e1533feb75fa5ff122e67a8b46ba2597ef5a328a729265d9b333b85dc5165c",
        "test": "d7351ae04b3660bd8a99bd1f198a4bd8f15d1dcc23908c529b61e56ca5790fe0",
    }

    def to_example(self, name: str, row: Mapping[str, Any]) -> Example:
        """Return a sentence with its label by name."""
        return TextExample(name, row["text"], row["label_text"])
