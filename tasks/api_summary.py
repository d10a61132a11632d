"""api-summary: write the summary line of a docstring from its extended description."""

from __future__ import annotations

from collections.abc import Iterable

from tlbench import DataSource, GenerationExample, Splits, corpora


class ApiSummary(corpora.DocumentationTask):
    """Summarization: the paragraphs below the summary line are the source, the summary line is the target.

    Of a longer first paragraph, the first sentence is the target and the rest opens the source. Code, lists
    and markup are left out of both. Examples whose summary stands verbatim in the source, or shares too few
    words with it to be found there, are left out: they would reward copying, or guessing.

    Splits: the corpus's split map; examples of one top-level object share a group.
    """

    name = "api-summary"
    kind = "text-generation"
    summary = "summary line of a docstring from its extended description"
    metric = "rouge_l"
    default_budget = 1000
    template = "Summary lines of documentation.\n\nText: {source}\nSummary:"

    min_source, max_source = 20, 120
    min_target, max_target = 4, 25
    min_shared = 0.2

    def load(self, source: DataSource) -> Splits:
        """Return both sides of the split map."""
        return corpora.both_sides(source, self._examples, lambda example: [example.source, example.targets[0]])

    def _examples(self, rows: Iterable[corpora.Docstring]) -> list[GenerationExample]:
        found = []
        for row in rows:
            parts = corpora.sections(row.text)
            summary, *rest = corpora.sentences(corpora.plain(parts.summary)) or [""]
            described = [*rest, *(corpora.plain(paragraph) for paragraph in (*parts.extended, *parts.notes))]
            text = " ".join(" ".join(described).split()[:self.max_source])
            if self._usable(summary, text):
                found.append(GenerationExample(row.name, text, (summary,), group=row.owner))
        return found

    def _usable(self, summary: str, text: str) -> bool:
        target, words = summary.lower().rstrip(".:").split(), set(text.lower().split())
        if not self.min_target <= len(target) <= self.max_target or len(text.split()) < self.min_source:
            return False
        shared = sum(word in words for word in target) / len(target)
        return shared >= self.min_shared and " ".join(target) not in text.lower()
