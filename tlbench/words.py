"""Words and sentences of any script, for what edits, compares, embeds or looks through texts."""

from __future__ import annotations

import re

UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af"
"""Chinese, Japanese and Korean characters, ranges of a regular expression's class: each stands for a word here."""
_SENTENCE_END = re.compile(r"(?:(?<=[.!?])|(?<=[.!?][\"')\]]))\s+(?![a-z])|(?<=[\u3002\uff01\uff1f])|\n+")
"""What lies between two sentences: white space behind a full stop, or nothing behind an ideographic one."""
_ALONE = re.compile(f"[{UNSPACED}]")


def spaced(text: str) -> str:
    """Return a text with white space around each character of Chinese, Japanese and Korean script.

    What splits at white space afterwards takes each such character as a word; other texts stay as they are.
    """
    return _ALONE.sub(r" \g<0> ", text)


def sentences(text: str) -> list[tuple[int, int]]:
    """Return (start, end) of each sentence, without blank ones; the empty sentence for a text without any."""
    edges = [0, *(edge for match in _SENTENCE_END.finditer(text) for edge in match.span()), len(text)]
    return [(a, b) for a, b in zip(edges[::2], edges[1::2], strict=True) if text[a:b].strip()] or [(0, 0)]
