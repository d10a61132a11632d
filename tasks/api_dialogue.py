"""api-dialogue: answer a follow-up question about a function from its documentation."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256

from tlbench import DataSource, QuestionExample, Splits, corpora


class ApiDialogue(corpora.DocumentationTask):
    """The second turn of a dialogue about a function, class or method, answered with a sentence of its documentation.

    The question is the dialogue so far: what f does, the summary line as the reply, and "And what is its x for?".
    The last turn does not say whose x is meant; the turns before do. The context is the descriptions of all
    parameters of f as running prose, without names and types; the answer is the first sentence of x's. Where the
    answer spells the name out the question is left out, as in `api-qa`. The replies are the authors' words, but the
    questions are made by rule: this measures finding an answer in context, not conversation.

    Splits: the corpus's split map; at most two dialogues per context, contexts of one top-level object are a group.
    """

    name = "api-dialogue"
    kind = "question-answering"
    summary = "follow-up question about a function, answered from its documentation"
    suite = "applications"
    metric = "token_f1"
    default_budget = 600
    template = "Reply with a sentence of the text.\n\nText: {context}\n{question}\nB:"

    min_parameters = 3
    min_answer, max_answer = 3, 40
    min_words, max_words = 25, 160
    min_summary, max_summary = 4, 16
    per_context = 2

    def load(self, source: DataSource) -> Splits:
        """Return both sides of the split map."""
        return corpora.both_sides(
            source, self._examples, lambda example: [f"{example.question} {example.context}", example.context])

    def _examples(self, rows: Iterable[corpora.Docstring]) -> list[QuestionExample]:
        found = []
        for row in rows:
            context, answers = corpora.described(row)
            summary = (corpora.sentences(corpora.plain(corpora.sections(row.text).summary)) or [""])[0]
            if (len(answers) < self.min_parameters or row.kind == "module"
                    or not self.min_words <= len(context.split()) <= self.max_words
                    or not self.min_summary <= len(summary.split()) <= self.max_summary):
                continue
            usable = [name for name, answer in answers.items() if self._usable(name, answer.text, context)]
            drawn = sorted(usable, key=lambda name: sha256(f"dialogue {row.name} {name}".encode()).digest())
            found += [QuestionExample(f"{row.name}({name})", _dialogue(row, summary, name), context, (answers[name],),
                                      group=row.owner) for name in drawn[:self.per_context]]
        return found

    def _usable(self, name: str, answer: str, context: str) -> bool:
        fits = self.min_answer <= len(answer.split()) <= self.max_answer
        return fits and not corpora.spelled_out(name, answer) and context.count(answer) == 1


def _dialogue(row: corpora.Docstring, summary: str, parameter: str) -> str:
    return f"A: What does {'.'.join(row.name.split('.')[-2:])} do?\nB: {summary}\nA: And what is its {parameter} for?"
