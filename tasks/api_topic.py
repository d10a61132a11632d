"""api-topic: which subpackage a docstring documents, from its prose alone."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from hashlib import sha256
from typing import Any

from tlbench import DataSource, Splits, TextExample, corpora


class ApiTopic(corpora.DocumentationTask):
    """Topic of a docstring, labelled by where its authors put the object.

    The text is the docstring's prose (summary, extended description, notes) without code, markup, module
    paths, names of packages and words of any label; the label is the subpackage. Several classes share a
    package, so that its style of writing does not give the class away.

    Splits: the corpus's split map (one in five top-level objects), at most 300 and 75 examples per class.
    Examples of one class or function share a group.
    """

    name = "api-topic"
    kind = "text-classification"
    summary = "subpackage that a docstring's prose describes (12 classes)"
    metric = "accuracy"
    default_budget = 300
    template = "Which part of a library a documentation text belongs to: {labels}.\n\nText: {text}\nPart:"

    topics = ("networkx.algorithms", "pandas.core", "pandas.io", "scipy.optimize", "scipy.signal",
              "scipy.stats", "sympy.physics", "sympy.polys", "sympy.solvers", "torch.distributed", "torch.nn",
              "transformers.generation")
    min_words, max_words = 12, 100
    train_per_topic, test_per_topic = 300, 75

    def load(self, source: DataSource) -> Splits:
        """Return both sides of the split map, balanced as far as the topics go."""
        found = corpora.both_sides(source, self._examples, lambda example: [example.text])
        return replace(found, train=_balanced(found.train, self.train_per_topic),
                       test=_balanced(found.test, self.test_per_topic))

    def _examples(self, rows: Iterable[corpora.Docstring]) -> list[TextExample]:
        found = []
        for row in rows:
            topic = ".".join(row.name.split(".")[:2])
            if topic not in self.topics:
                continue
            words = _masked(" ".join(corpora.sections(row.text).prose)).split()
            if len(words) >= self.min_words:
                found.append(TextExample(row.name, " ".join(words[:self.max_words]), topic, group=row.owner))
        return found


_PATH = re.compile(r"(?<![\w.])(?!(?:e\.g|i\.e)\b)~?[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+(?:\(\))?")
_PACKAGES = ("accelerate", "huggingface", "hugging face", "networkx", "nltk", "np", "numpy", "nx", "pandas",
             "pd", "peft", "pytorch", "scikit-learn", "scipy", "sklearn", "sympy", "torch", "transformers")
_PARTS = sorted({part for topic in ApiTopic.topics for part in topic.split(".")})
_NAMED = re.compile(rf"\b(?:{'|'.join([*_PACKAGES, *_PARTS])})\b", re.IGNORECASE)


def _masked(paragraph: str) -> str:
    """Return plain prose with dotted names, package names and the words of labels replaced by `NAME`."""
    return _NAMED.sub("NAME", _PATH.sub("NAME", corpora.plain(paragraph)))


def _balanced(examples: Iterable[Any], most: int) -> list[TextExample]:
    """Keep at most so many examples per label, drawn by the hash of the id."""
    kept: list[TextExample] = []
    count: Counter[str | float] = Counter()
    for example in sorted(examples, key=lambda example: sha256(example.id.encode()).digest()):
        count[example.label] += 1
        if count[example.label] <= most:
            kept.append(example)
    return sorted(kept, key=lambda example: example.id)
