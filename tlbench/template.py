"""Templates: how the examples of a task are written as prompts."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tlbench.task import Example, GenerationExample, QuestionExample, TextExample

FIELDS: Mapping[str, tuple[str, ...]] = {
    "text-classification": ("text", "text_pair"),
    "text-regression": ("text", "text_pair"),
    "token-classification": ("words",),
    "question-answering": ("question", "context"),
    "text-generation": ("source",),
}
"""What of an example a template may name, by kind. The answer is not among it."""
LABELS = "labels"
"""A further field: class names or entity types, separated by commas; empty where the kind has none."""
_FIELD = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class Template:
    """A prompt with named fields, up to where the answer begins.

    A first paragraph (up to a blank line) that names nothing of the example is an instruction: it stands once at
    the top of a prompt, whatever the number of worked examples that follow. `{labels}` may stand anywhere.

    Attributes:
        text: For example `Sort by {labels}.\\n\\nReview: {text}\\nLabel:`. The answer is put behind it with a space
            or line break of its own.
    """

    text: str

    def fault(self, kind: str) -> str | None:
        """Return what is wrong with the template for tasks of a kind, in one sentence, or `None`."""
        known, named = FIELDS[kind], _FIELD.findall(self.text)
        strange = [name for name in named if name not in (*known, LABELS)]
        fields = ", ".join(f"{{{name}}}" for name in (*known, LABELS))
        if strange:
            return f"template names {{{strange[0]}}}, which {kind} does not have: use {fields}"
        if not set(named) & set(known):
            return f"template {self.text!r} shows nothing of the example: use {fields}"
        if self.text != self.text.rstrip():
            return f"template {self.text!r} ends in white space, which most vocabularies put into the answer: strip it"
        return None

    def top(self, labels: Sequence[str]) -> str:
        """Return the instruction, or an empty text."""
        return _filled(self._parts()[0], {LABELS: ", ".join(labels)})

    def shown(self, values: Mapping[str, str], labels: Sequence[str]) -> str:
        """Return an example as the template shows it, up to where its answer begins.

        Args:
            values: What `values` returns, or a shortened form of it. Braces inside the values stay as they are.
            labels: Class names or entity types.
        """
        return _filled(self._parts()[1], {**values, LABELS: ", ".join(labels)})

    @staticmethod
    def values(example: Example) -> dict[str, str]:
        """Return the fields of an example by name, without its answer."""
        if isinstance(example, TextExample):
            return {"text": example.text, "text_pair": example.text_pair or ""}
        if isinstance(example, QuestionExample):
            return {"question": example.question, "context": example.context}
        if isinstance(example, GenerationExample):
            return {"source": example.source}
        return {"words": " ".join(example.words)}

    def _parts(self) -> tuple[str, str]:
        first, blank, rest = self.text.partition("\n\n")
        once = blank and not set(_FIELD.findall(first)) - {LABELS}
        return (first, rest) if once else ("", self.text)


def _filled(text: str, values: Mapping[str, str]) -> str:
    return _FIELD.sub(lambda match: values.get(match[1], ""), text)
