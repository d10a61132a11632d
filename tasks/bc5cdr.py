"""BC5CDR: chemicals and diseases in abstracts of PubMed articles."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from tlbench import DataSource, HubFiles, Splits, Task, TokenExample, UserError


class Bc5cdr(Task):
    """Biomedical entities (Li et al. 2016, Database baw068; BioCreative V): chemicals and diseases, IOB2.

    Splits, all official, cut into sentences by the T-NER project: train 5,228, validation 5,330, test 5,865 (its own
    counts). Tags are stored as integers that the repository's `label.json` names; an `I-` that continues nothing
    becomes `B-`, since IOB2 knows no other beginning.

    Caveats: sentences of one abstract are neighbours in the file but not marked as a group, so intervals treat them
    as independent. The Hub could not be reached when this was written: neither a commit nor the rows could be
    verified, so it is read at the branch `main`, nothing is pinned, and a mirror is identified by the hash of its
    files. Free for research; the T-NER card states the licence as "other".
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
    rows_sha256: Mapping[str, str] = {}

    def load(self, source: DataSource) -> Splits:
        """Return the three official splits."""
        tags = self._tag_names(source)
        return Splits(train=self._examples(source, "train", tags), test=self._examples(source, "test", tags),
                      validation=self._examples(source, "validation", tags))

    def _tag_names(self, source: DataSource) -> dict[int, str]:
        path = source.path(self.hub, self.hub.files["labels"][0])
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
            return {int(number): str(name) for name, number in stored.items()}
        except (ValueError, AttributeError, TypeError) as error:
            raise UserError(f"{str(path)!r} does not map tag names to numbers: fetch it again") from error

    def _examples(self, source: DataSource, split: str, tags: Mapping[int, str]) -> list[TokenExample]:
        rows = source.rows(self.hub, split, columns=("tokens", "tags"), expected=self.rows_sha256.get(split))
        return [
            TokenExample(f"{split}-{index}", tuple(row["tokens"]), _iob2([tags[tag] for tag in row["tags"]]))
            for index, row in enumerate(rows) if row["tokens"]
        ]

    def identity(self, source: DataSource) -> Mapping[str, Any]:
        """Return the mirror's files, or the Hub's revision."""
        return source.pins(self.hub, self.rows_sha256)

    def unavailable(self, source: DataSource) -> str | None:
        """Return why the files cannot be had here."""
        return source.missing(self.hub)


def _iob2(tags: Sequence[str]) -> tuple[str, ...]:
    """Return the tags with every entity begun by `B-`."""
    before = ("O", *tags)
    return tuple(f"B-{tag[2:]}" if tag.startswith("I-") and last[1:] != tag[1:] else tag
                 for last, tag in zip(before, tags, strict=False))
