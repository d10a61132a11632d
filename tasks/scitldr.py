"""SciTLDR: one-sentence summaries of computer science papers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tlbench import Example, GenerationExample, HubFiles, HubTask


class Scitldr(HubTask):
    """Abstract to one-sentence summary (Cachola et al. 2020, Findings of EMNLP; 2004.15011).

    Splits, all official, configuration `Abstract`: train 1,992 (one reference: the author's), validation
    619, test 618 (one author's and one or more reviewers' references). The repository stores a loading
    script; what is read is the Hub's automatic Parquet conversion (`refs/convert/parquet`), a moving
    reference, so the rows are pinned as well.

    Caveat: with several references each metric takes the best one, as the authors do.
    """

    name = "scitldr"
    kind = "text-generation"
    summary = "abstracts of computer science papers, one-sentence summaries"
    licence = "Apache-2.0"
    homepage = "https://huggingface.co/datasets/allenai/scitldr"
    suite = "public"
    default_budget = 1000
    sources = ("scitldr",)
    test_cap = 2000
    template = "Abstract: {source}\nSummary in one sentence:"

    hub = HubFiles("allenai/scitldr", "refs/convert/parquet", {
        "train": ("Abstract/train/0000.parquet",),
        "validation": ("Abstract/validation/0000.parquet",),
        "test": ("Abstract/test/0000.parquet",),
    })
    columns = ("source", "target")
    rows_sha256 = {
        "train": "46e2017900ac061bf150b191625f62040a8b70c918c53c8d12863a66b08a9c82",
        "validation": "530b09657c2e3e6d950e5da0e0cebc36ef3467e3b7c94368509e438e7d65b9df",
        "test": "fc88c2c2920755222076897eb819c32c1b7368ccec038f8b79db8674cbfbea86",
    }

    def to_example(self, name: str, row: Mapping[str, Any]) -> Example:
        """Return an abstract with all its references."""
        return GenerationExample(name, " ".join(_stripped(row["source"])), tuple(_stripped(row["target"])))


def _stripped(sentences: list[str]) -> list[str]:
    return [sentence.strip() for sentence in sentences if sentence.strip()]
