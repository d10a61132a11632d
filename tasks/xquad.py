"""XQuAD (English): extractive question answering on Wikipedia paragraphs."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from tlbench import DataSource, HubFiles, HubTask, QuestionExample, Span, Splits

TEST_PERCENT = 20


class Xquad(HubTask):
    """Questions on Wikipedia paragraphs whose answer is a span (Artetxe et al. 2020, ACL; 1910.11856).

    Splits: only one exists (`validation`: 1,190 questions on 240 paragraphs of SQuAD v1.1's development set),
    so the test side is a fixed 20 % of the **paragraphs**, by SHA-256 of their text; there is no official
    validation.

    Caveats: five paragraphs come from each of 48 articles, so both sides share articles (never paragraphs).
    A model that was trained on SQuAD saw the same domain and guidelines; the leak flag says so. Paragraphs
    are the groups: their questions are not independent.
    """

    name = "xquad"
    kind = "question-answering"
    summary = "questions on Wikipedia paragraphs, answer = span"
    licence = "CC BY-SA 4.0"
    homepage = "https://huggingface.co/datasets/google/xquad"
    suite = "public"
    default_budget = 600
    sources = ("xquad", "squad")
    test_cap = 2000
    template = "Answer with words of the text.\n\nText: {context}\nQuestion: {question}\nAnswer:"

    hub = HubFiles("google/xquad", "51adfef1c1287aab1d2d91b5bead9bcfb9c68583", {
        "validation": ("xquad.en/validation-00000-of-00001.parquet",),
    })
    columns = ("id", "context", "question", "answers")
    rows_sha256 = {
        "validation": "16d52df2e175f60d549b06e1abf138ac294bd5104b8c61b24d473bd88028da7c",
    }

    def load(self, source: DataSource) -> Splits:
        """Return the one official split, divided by paragraph."""
        examples = [_example(row) for row in self.rows(source, "validation")]
        test = [example for example in examples if _held_out(example)]
        train = [example for example in examples if not _held_out(example)]
        paragraphs = {"train": _paragraphs(train), "test": _paragraphs(test)}
        return Splits(train=train, test=test, notes={"paragraphs": paragraphs})


def _example(row: Mapping[str, Any]) -> QuestionExample:
    pairs = zip(row["answers"]["text"], row["answers"]["answer_start"], strict=True)
    spans = tuple(Span(text, start) for text, start in pairs)
    paragraph = hashlib.sha256(row["context"].encode("utf-8")).hexdigest()
    return QuestionExample(row["id"], row["question"], row["context"], spans, group=paragraph[:16])


def _paragraphs(examples: list[QuestionExample]) -> int:
    return len({example.group for example in examples})


def _held_out(example: QuestionExample) -> bool:
    return int(str(example.group), 16) % 100 < TEST_PERCENT
