"""DialogSum: what was said in everyday conversations, in a sentence or two."""

from __future__ import annotations

from collections.abc import Sequence

from tlbench import DataSource, Example, GenerationExample, HubFiles, HubTask


class DialogSum(HubTask):
    """Dialogue to summary (Chen et al. 2021, Findings of ACL; 2021.findings-acl.449): real-life conversations.

    Splits, all official: train 12,460, validation 500, test 500 dialogues (the authors' counts; the test file repeats
    each dialogue once per reference). Speakers are `#Person1#` and so on. Rows with the same dialogue become one
    example with several references; with several references each metric takes the best one.

    Caveats: dialogues are longer than the recipe's input, so trained models read their beginnings. The Hub could not
    be reached when this was written: neither a commit nor the rows could be verified, so it is read at the branch
    `main`, nothing is pinned, and a mirror is identified by the hash of its files. Not for commercial use; the
    dialogues belong to their authors.

    Why these files and not the Hub's Parquet conversion (`refs/convert/parquet`): the authors' files are CSV, and here
    they are read so that the text "None" stays a text. What the conversion made of such texts, and the folder and
    names of its files, could not be verified.
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
    columns = ("dialogue", "summary")

    def examples(self, source: DataSource, split: str) -> Sequence[Example]:
        """Return the dialogues of one split, each with all its references."""
        references: dict[str, list[str]] = {}
        for row in self.rows(source, split):
            dialogue, summary = str(row["dialogue"] or "").strip(), str(row["summary"] or "").strip()
            if dialogue and summary:
                references.setdefault(dialogue, []).append(summary)
        return [GenerationExample(f"{split}-{index}", dialogue, tuple(dict.fromkeys(summaries)))
                for index, (dialogue, summaries) in enumerate(references.items())]
