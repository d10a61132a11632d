"""api-qa: find the sentence of a documentation text that says what a parameter specifies."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256

from tlbench import DataSource, QuestionExample, Splits, corpora


class ApiQa(corpora.DocumentationTask):
    """Extractive question answering over parameter descriptions.

    Question: "What does the parameter x of f specify?". Context: the descriptions of all parameters of f as
    running prose, without their names and types. Answer: the first sentence of x's description. The name is
    not there to be matched, and where the answer spells it out (`max_size`: "The max size") the question is
    left out: what helps is knowing what a name stands for.

    Splits: the corpus's split map; at most two questions per context, contexts of one top-level object are a
    group.
    """

    name = "api-qa"
    kind = "question-answering"
    summary = "which sentence says what a parameter specifies"
    metric = "token_f1"
    default_budget = 600
    template = "Answer with a sentence of the text.\n\nText: {context}\nQuestion: {question}\nAnswer:"

    min_parameters = 3
    min_answer, max_answer = 3, 40
    min_words, max_words = 25, 160
    per_context = 2

    def load(self, source: DataSource) -> Splits:
        """Return both sides of the split map."""
        return corpora.both_sides(
            source, self._examples, lambda example: [f"{example.question} {example.context}", example.context])

    def _examples(self, rows: Iterable[corpora.Docstring]) -> list[QuestionExample]:
        found = []
        for row in rows:
            context, answers = corpora.described(row)
            size = len(context.split())
            if len(answers) < self.min_parameters or not self.min_words <= size <= self.max_words:
                continue
            usable = [name for name, answer in answers.items() if self._usable(name, answer.text, context)]
            drawn = sorted(usable, key=lambda name: sha256(f"{row.name} {name}".encode()).digest())
            found += [QuestionExample(f"{row.name}({name})", _question(row, name), context, (answers[name],),
                                      group=row.owner) for name in drawn[:self.per_context]]
        return found

    def _usable(self, name: str, answer: str, context: str) -> bool:
        fits = self.min_answer <= len(answer.split()) <= self.max_answer
        return fits and not corpora.spelled_out(name, answer) and context.count(answer) == 1


def _question(row: corpora.Docstring, parameter: str) -> str:
    return f"What does the parameter {parameter} of {'.'.join(row.name.split('.')[-2:])} specify?"
