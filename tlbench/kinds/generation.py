"""Text generation: a text for a source text (summarization, translation, dialogue, continuation)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tlbench.kinds import degeneracy
from tlbench.kinds.base import Kind
from tlbench.kinds.likelihood import BitsPerByte, Perplexity
from tlbench.kinds.reduction import require_pairs
from tlbench.kinds.text_metrics import Bleu, ChineseBleu, Chrf, JapaneseBleu, Rouge1, Rouge2, RougeL
from tlbench.task import GenerationExample


class Generation(Kind):
    """A text for a source text. Predictions are texts."""

    name = "text-generation"
    example = GenerationExample
    metrics = (RougeL(), Rouge1(), Rouge2(), Chrf(), Bleu())
    likelihoods = (Perplexity(), BitsPerByte())

    def spoken(self, language: str) -> Kind:
        """Return the kind with the BLEU tokenizer of a language; ROUGE tells scripts apart by itself."""
        return {"zh": ChineseGeneration(), "ja": JapaneseGeneration()}.get(language.lower().partition("-")[0], self)

    def check(self, example: Any) -> str | None:
        """Return what is wrong with an example: the source may be empty, the targets may not."""
        if not isinstance(example.source, str):
            return f"its source is a {type(example.source).__name__}, not a string"
        if isinstance(example.targets, str) or not example.targets:
            return "it has no target (a tuple with one text or more)"
        for number, target in enumerate(example.targets):
            if not isinstance(target, str) or not target.strip():
                return f"its target {number} is empty or not a string"
        return None

    def text(self, example: Any) -> str:
        """Return the source."""
        return str(example.source)

    def gold(self, example: Any) -> list[str]:
        """Return the reference texts."""
        return list(example.targets)

    def degenerate(self, predictions: Sequence[Any]) -> str | None:
        """Return whether nearly all texts are empty or identical."""
        return degeneracy.texts(predictions, "text")

    def to_json(self, prediction: Any) -> str:
        """Return the text."""
        return str(prediction)

    def from_json(self, value: Any) -> str:
        """Return the text."""
        return str(value)

    def report(
        self, examples: Sequence[Any], predictions: Sequence[Any], labels: Sequence[str]
    ) -> Mapping[str, Any]:
        """Return shares of empty and distinct texts and of copied sources, and mean lengths in characters."""
        require_pairs(examples, predictions)
        size = len(examples)
        stripped = [prediction.strip() for prediction in predictions]
        return {
            "examples": size,
            "empty": sum(not text for text in stripped) / size,
            "distinct": len(set(stripped)) / size,
            "copied": sum(t == e.source.strip() for t, e in zip(stripped, examples, strict=True)) / size,
            "characters": {
                "prediction": sum(map(len, stripped)) / size,
                "reference": sum(len(example.targets[0].strip()) for example in examples) / size,
            },
        }


class ChineseGeneration(Generation):
    """Text generation into Chinese."""

    metrics = (RougeL(), Rouge1(), Rouge2(), Chrf(), ChineseBleu())


class JapaneseGeneration(Generation):
    """Text generation into Japanese."""

    metrics = (RougeL(), Rouge1(), Rouge2(), Chrf(), JapaneseBleu())
