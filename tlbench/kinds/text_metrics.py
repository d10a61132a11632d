"""Metrics of generated text: ROUGE by rouge-score, BLEU and chrF by sacrebleu.

The libraries count, the counts are stored, and scores are computed from counts without the libraries, so that
boards and bootstraps need neither of them.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Sequence
from importlib import metadata
from typing import Any, ClassVar

import numpy as np

from tlbench.kinds.base import Array, Metric
from tlbench.kinds.reduction import MeanMetric, ratio, require_pairs, totals

BLEU_ORDER = 4
CHRF_ORDER = 6
CHRF_BETA = 2

_ASCII_WORD = re.compile("[a-z0-9]+")
_UNSPACED = re.compile(  # Thai, Lao, Myanmar, Khmer, kana, Han: scripts that put no space between words
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    "\U00020000-\U0003ffff]"
)


class UnicodeTokenizer:
    """Words of any script, for rouge-score, whose own tokenizer drops all but ASCII letters and digits.

    Text is normalised to NFKC (ligatures become letters) and lower-cased; a token is a run of letters, digits
    and combining marks; in scripts without spaces each character is a token. On ASCII text these are the
    tokens of rouge-score without its stemmer.
    """

    def tokenize(self, text: str) -> list[str]:
        """Return the tokens of a text."""
        text = unicodedata.normalize("NFKC", text).lower()
        if text.isascii():
            return _ASCII_WORD.findall(text)
        tokens: list[str] = []
        open_word = False
        for character in text:
            if unicodedata.category(character).startswith("M") and tokens:
                tokens[-1] += character
            elif not character.isalnum():
                open_word = False
            elif _UNSPACED.match(character):
                tokens.append(character)
                open_word = False
            elif open_word:
                tokens[-1] += character
            else:
                tokens.append(character)
                open_word = True
        return tokens


def _rouge_signature(kind: str) -> str:
    return (f"{kind}|score:f|refs:max|stemmer:no|tok:unicode-1(NFKC,lower,unspaced scripts by character)"
            f"|rouge-score:{metadata.version('rouge-score')}")


class _Rouge(MeanMetric):
    """F-measure of one ROUGE variant, the best over references (Lin 2004, W04-1013).

    A text without letters and digits scores 0, as in rouge-score.
    """

    rouge: ClassVar[str]

    def values(self, examples: Sequence[Any], predictions: Sequence[Any]) -> list[float]:
        """Return the F-measure of each example."""
        scorer = _rouge_scorer(self.rouge)
        return [float(scorer.score_multi(example.targets, prediction)[self.rouge].fmeasure)
                for example, prediction in zip(examples, predictions, strict=True)]


class RougeL(_Rouge):
    """F-measure of the longest common subsequence of words."""

    name = "rouge_l"
    rouge = "rougeL"
    signature = _rouge_signature("rougeL")


class Rouge1(_Rouge):
    """F-measure of single words."""

    name = "rouge_1"
    rouge = "rouge1"
    signature = _rouge_signature("rouge1")


class Rouge2(_Rouge):
    """F-measure of word pairs."""

    name = "rouge_2"
    rouge = "rouge2"
    signature = _rouge_signature("rouge2")


@functools.cache
def _rouge_scorer(kind: str) -> Any:
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer([kind], tokenizer=UnicodeTokenizer())


def _bleu_signature(tokenizer: str) -> str:
    return f"BLEU|nrefs:var|case:mixed|eff:no|tok:{tokenizer}|smooth:exp|version:{metadata.version('sacrebleu')}"


class Bleu(Metric):
    """Corpus BLEU of sacrebleu (Post 2018, W18-6319), divided by 100; words as mteval-v13a splits them."""

    name = "bleu"
    tokenizer: ClassVar[str] = "13a"
    signature = _bleu_signature(tokenizer)

    def columns(self, labels: Sequence[str]) -> tuple[str, ...]:
        """Name the statistics: lengths in tokens, then matched and predicted n-grams by order."""
        orders = range(1, BLEU_ORDER + 1)
        return ("sys_len", "ref_len", *(f"match_{n}" for n in orders), *(f"total_{n}" for n in orders))

    def statistics(self, examples: Sequence[Any], predictions: Sequence[Any], labels: Sequence[str]) -> Array:
        """Return lengths and n-gram counts, float64 of shape (examples, 10).

        Raises:
            ValueError: no example, or not one prediction per example.
        """
        require_pairs(examples, predictions)
        counter = _bleu(self.tokenizer)
        scores = [counter.sentence_score(p, e.targets) for e, p in zip(examples, predictions, strict=True)]
        return np.array([[s.sys_len, s.ref_len, *s.counts, *s.totals] for s in scores], dtype=np.float64)

    def score(self, statistics: Array, weights: Array | None = None) -> Array:
        """Return corpus BLEU / 100, shape (resamples,); 0 without any matching word."""
        sums = totals(statistics, weights)
        length, reference = sums[:, 0], sums[:, 1]
        match, total = sums[:, 2 : 2 + BLEU_ORDER], sums[:, 2 + BLEU_ORDER :]
        # Exponential smoothing (NIST mteval-v13a): the k-th order without a match counts as 1 / 2^k matches.
        smoothed = np.where(match == 0, 0.5 ** np.cumsum((match == 0) & (total > 0), axis=1), match)
        defined = (match[:, 0] > 0) & (total > 0).all(axis=1)
        precision = np.where(defined[:, None], ratio(smoothed, total), 1.0)
        short = (length < reference) & (length > 0)
        penalty = np.where(short, np.exp(1 - ratio(reference, np.where(short, length, 1.0))), 1.0)
        return np.where(defined, penalty * np.exp(np.log(precision).mean(axis=1)), 0.0)


class ChineseBleu(Bleu):
    """BLEU with sacrebleu's tokenizer `zh`: each Chinese character is a word, all else as in 13a."""

    tokenizer = "zh"
    signature = _bleu_signature(tokenizer)


class JapaneseBleu(Bleu):
    """BLEU of characters: sacrebleu's own choice for Japanese needs a dictionary that is not installed with it."""

    tokenizer = "char"
    signature = _bleu_signature(tokenizer)


@functools.cache
def _bleu(tokenizer: str) -> Any:
    from sacrebleu.metrics import BLEU

    # The effective order changes only the score of one sentence, which is not used, and silences its advice.
    return BLEU(effective_order=True, tokenize=tokenizer)


class Chrf(Metric):
    """Corpus chrF2 of sacrebleu (Popovic 2015, W15-3049), divided by 100; 0 without text on one side."""

    name = "chrf"
    signature = (f"chrF2|nrefs:var|case:mixed|eff:yes|nc:{CHRF_ORDER}|nw:0|space:no"
                 f"|version:{metadata.version('sacrebleu')}")

    def columns(self, labels: Sequence[str]) -> tuple[str, ...]:
        """Name the statistics: predicted, reference and matched character n-grams, order by order."""
        return tuple(f"{count}_{n}" for n in range(1, CHRF_ORDER + 1) for count in ("hyp", "ref", "match"))

    def statistics(self, examples: Sequence[Any], predictions: Sequence[Any], labels: Sequence[str]) -> Array:
        """Return n-gram counts against the best reference, float64 of shape (examples, 18).

        Raises:
            ValueError: no example, or not one prediction per example.
        """
        require_pairs(examples, predictions)
        counter = _chrf()
        # sacrebleu hands out chrF's counts only here; its own significance tests take them the same way.
        rows = [counter._extract_corpus_statistics([p], [[target] for target in e.targets])[0]
                for e, p in zip(examples, predictions, strict=True)]
        return np.array(rows, dtype=np.float64)

    def score(self, statistics: Array, weights: Array | None = None) -> Array:
        """Return corpus chrF2 / 100, shape (resamples,)."""
        hyp, ref, match = np.moveaxis(totals(statistics, weights).reshape(-1, CHRF_ORDER, 3), -1, 0)
        counted = (hyp > 0) & (ref > 0)
        orders = counted.sum(axis=1).astype(np.float64)
        precision = ratio((ratio(match, hyp) * counted).sum(axis=1), orders)
        recall = ratio((ratio(match, ref) * counted).sum(axis=1), orders)
        factor = CHRF_BETA**2
        return ratio((1 + factor) * precision * recall, factor * precision + recall)


@functools.cache
def _chrf() -> Any:
    from sacrebleu.metrics import CHRF

    return CHRF()
