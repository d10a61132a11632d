"""WNUT-17: novel and emerging entities in noisy user text."""

from __future__ import annotations

from collections.abc import Sequence

from tlbench import DataSource, Example, HubFiles, HubTask, TokenExample


class Wnut17(HubTask):
    """Emerging and rare entities (Derczynski et al. 2017, W-NUT; W17-4418): six types, IOB2.

    Splits, all official: train 3,394, validation 1,009, test 1,287. Tags are stored as integers that the
    repository's `label.json` names.

    Caveats: train is Twitter of 2010, validation YouTube comments, test Reddit, Twitter and StackExchange
    of 2017: entities and genre shift on purpose, and validation scores do not predict test scores. No
    commit of the repository could be verified when this was written, so the Hub is read at `main` and the
    rows are pinned.
    """

    name = "wnut17"
    kind = "token-classification"
    summary = "emerging entities in tweets and forum posts (six types)"
    licence = "CC BY 4.0"
    homepage = "https://huggingface.co/datasets/tner/wnut2017"
    suite = "public"
    default_budget = 1000
    sources = ("wnut17",)
    test_cap = 2000
    template = "Names in posts, each with its type ({labels}).\n\nPost: {words}\nNames:"

    hub = HubFiles("tner/wnut2017", "main", {
        "train": ("dataset/train.json",),
        "validation": ("dataset/valid.json",),
        "test": ("dataset/test.json",),
        "labels": ("dataset/label.json",),
    })
    columns = ("tokens", "tags")
    rows_sha256 = {
        "train": "c03dddcc2a3e1b4710067cdcc586c9b7f118943af40c1996ca303fb3a04d52b9",
        "validation": "da949684883f870d5468456d1c54256d39dac0b75cfb8cd3850bb5ac5e93cfc7",
        "test": "aa6ff94a2a7938c0602922212f5a7dc84f6329a3940e2cb4aae207a2cf786c7e",
        "labels": "4cdd6b82664d4f5202e47760d905190b53c9fa34c1c93c970132a474f5bc7220",
    }

    def examples(self, source: DataSource, split: str) -> Sequence[Example]:
        """Return the posts of one split, tags by name."""
        tags = self.numbered(source, "labels")
        return [TokenExample(f"{split}-{index}", tuple(row["tokens"]), tuple(tags[tag] for tag in row["tags"]))
                for index, row in enumerate(self.rows(source, split))]
