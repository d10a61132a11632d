"""api-continuation: go on with the prose of a docstring."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from hashlib import sha256

from tlbench import DataSource, GenerationExample, Splits, corpora


class ApiContinuation(corpora.DocumentationTask):
    """Continuation: the first half of a docstring's prose is the source, the second half is the target.

    The prose (summary, extended description, notes) has no code, lists or markup; of long prose the first 64 words
    are taken. Reported are chrF (primary), ROUGE and BLEU against the one continuation that the author wrote. There
    are many good continuations, so scores are low for everybody and only differences mean something. Trained models
    also say how likely they find what the author wrote: perplexity, for models of one vocabulary, and bits per byte.

    Splits: the corpus's split map; at most three examples per top-level object (the group). Halves are pieces that
    the split map does not know, so a test example goes when one of its halves nearly repeats a training text.
    """

    name = "api-continuation"
    kind = "text-generation"
    summary = "second half of a docstring's prose from its first half"
    suite = "applications"
    metric = "chrf"
    default_budget = 1000
    likelihood = True
    template = "{source}"

    min_words, max_words = 32, 64
    per_group = 3

    def load(self, source: DataSource) -> Splits:
        """Return both sides of the split map (one or two minutes)."""
        corpus = corpora.apidoc.corpus(source)
        held_out = self._examples(corpus.test)
        test = corpora.unseen(held_out, _pieces, corpus.train, corpora.apidoc.training_texts(source))
        train, test, removed = corpora.apart(self._examples(corpus.train), test, _pieces,
                                             known=corpora.test_texts(corpus.test))
        removed["test_known_from_training"] = len(held_out) - len(test)
        return Splits(train, test, notes={**corpus.provenance, "removed": removed})

    def _examples(self, rows: Iterable[corpora.Docstring]) -> list[GenerationExample]:
        found = []
        count: Counter[str] = Counter()
        for row in sorted(rows, key=lambda row: sha256(row.name.encode()).digest()):
            words = corpora.plain(" ".join(corpora.sections(row.text).prose)).split()[:self.max_words]
            if len(words) < self.min_words or count[row.owner] == self.per_group:
                continue
            count[row.owner] += 1
            half = len(words) // 2
            found.append(GenerationExample(row.name, " ".join(words[:half]), (" ".join(words[half:]),),
                                           group=row.owner))
        return sorted(found, key=lambda example: example.id)


def _pieces(example: GenerationExample) -> list[str]:
    return [example.source, example.targets[0], f"{example.source} {example.targets[0]}"]
