"""BC5CDR: chemicals and diseases in abstracts of PubMed articles."""

from __future__ import annotations

from collections.abc import Sequence

from tlbench import DataSource, Example, HubFiles, HubTask, TokenExample
from tlbench.iob2 import legal


class Bc5cdr(HubTask):
    """Biomedical entities (Li et al. 2016, Database baw068; BioCreative V): chemicals and diseases, IOB2.

    Splits, all official, cut into sentences by the T-NER project: train 5,228, validation 5,330, test 5,865 (its own
    counts). Tags are stored as integers that the repository's `label.json` names; an `I-` that continues nothing
    becomes `B-`, since IOB2 knows no other beginning.

    Caveats: sentences of one abstract are neighbours in the file but not marked as a group, so intervals treat them
    as independent. The Hub could not be reached when this was written: neither a commit nor the rows could be
    verified, so it is read at the branch `main`, nothing is pinned, and a mirror is identified by the hash of its
    files. Free for research; the T-NER card states the licence as "other".

    Why these files and not the Hub's Parquet conversion (`refs/convert/parquet`): converted rows hold tags as the
    same integers, but the file that names them lies at `main` alone, and a task reads one revision. Nor could it be
    verified that a conversion exists, or which folder its files lie in. Files and columns are as in `tner/wnut2017`,
    of the same project, whose rows are pinned.
    """

    name = "bc5cdr"
    kind = "token-classification"
    summary = "chemicals and diseases in sentences of PubMed abstracts"
    licence = "other (research use)"
    homepage = "https://huggingface.co/datasets/tner/bc5cdr"
    suite = "public"
    default_budget = 1000
    sources = ("bc5cdr", "pubmed")
    test_cap = 2000
    template = "Names in medical articles, each with its type ({labels}).\n\nText: {words}\nNames:"

    hub = HubFiles("tner/bc5cdr", "main", {
        "train": ("dataset/train.json",),
        "validation": ("dataset/valid.json",),
        "test": ("dataset/test.json",),
        "labels": ("dataset/label.json",),
    })
    columns = ("tokens", "tags")

    def examples(self, source: DataSource, split: str) -> Sequence[Example]:
        """Return the sentences of one split that have words, tags by name."""
        tags = self.numbered(source, "labels")
        return [TokenExample(f"{split}-{index}", tuple(row["tokens"]), legal([tags[tag] for tag in row["tags"]]))
                for index, row in enumerate(self.rows(source, split)) if row["tokens"]]
