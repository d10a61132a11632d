"""Plain words from docstring markup (reStructuredText, Markdown), and sentences from paragraphs."""

from __future__ import annotations

import re
from collections.abc import Callable

_ROLE = re.compile(r":[a-z]+(?::[a-z]+)*:`([^`]+)`")
_TITLED = re.compile(r"^(.*\S)\s*<[^<>]+>$")
_RST_LINK = re.compile(r"`([^`<>]+?)\s*<[^`<>]*>`_{1,2}")
_MD_LINK = re.compile(r"!?\[([^\[\]]+)\]\([^()\s]*\)")
_CITED = re.compile(r"\s*\[[\w.-]+\]_")
_SUBSTITUTED = re.compile(r"\s*\|[^|\s][^|]*\|_?")
_TICKS = re.compile(r"(?<!`)(`{1,2})([^`]+)\1(?!`)_{0,2}")
_STARS = re.compile(r"(?<![\w*])(\*{1,2})(?=\S)([^*]+?)(?<=\S)\1(?![\w*])")
_URL = re.compile(r"\s*\((?:see|cf\.?|from)?:?\s*https?://[^\s)]+\)|<?https?://[^\s>)]*[^\s>).,;]>?")
_TEMPLATE = re.compile(r"%\(\w+\)s")
_NAME = re.compile(r"\[([A-Za-z_][\w.]*)\]")
_SPACED = re.compile(r" ([.,;:)](?= |$))")
_BREAK = re.compile(r"(?<=[.!?])[)\]'\"`]*\s+(?=[\"'`(\[:*]*[A-Z])")
_SHORT = re.compile(r"(?:\b(?:e\.g|i\.e|etc|cf|vs|resp|Figs?|Eqs?|Sec|Refs?|al|approx|No|St|Dr|pp?|eq|ref)|"
                    r"\b[A-Z])\.$")


def role_target(inside: str) -> str:
    """Return what a role shows: `~torch.nn.Linear` shows `Linear`, `title <target>` its title."""
    titled = _TITLED.match(inside)
    shown = titled.group(1) if titled else inside.split(".")[-1] if inside.startswith("~") else inside
    return shown.lstrip("~!.").removesuffix("()").strip()


_MARKS: tuple[tuple[str, re.Pattern[str], str | Callable[[re.Match[str]], str]], ...] = (
    (":`", _ROLE, lambda match: role_target(match.group(1))),
    ("`_", _RST_LINK, r"\1"),
    ("]_", _CITED, ""),
    ("|", _SUBSTITUTED, ""),
    ("](", _MD_LINK, r"\1"),
    ("`", _TICKS, r"\2"),
    ("*", _STARS, r"\2"),
    ("http", _URL, ""),
    ("[", _NAME, r"\1"),
    ("%(", _TEMPLATE, ""),
)
"""What a mark needs to be there at all, the mark, and what is shown instead; in this order."""


def plain(text: str) -> str:
    """Return a paragraph as a reader sees it: roles, quotes, emphasis, links and citation marks resolved."""
    for mark, pattern, shown in _MARKS:
        if mark in text:  # most texts have few marks, and looking for one is cheap
            text = pattern.sub(shown, text)
    return _SPACED.sub(r"\1", " ".join(text.replace("\\", "").split()))


def sentences(paragraph: str) -> list[str]:
    """Split a paragraph at full stops followed by a capital, abbreviations aside."""
    found: list[str] = []
    start = 0
    for match in _BREAK.finditer(paragraph):
        if _SHORT.search(paragraph[start:match.start()]):
            continue
        found.append(paragraph[start:match.end()].strip())
        start = match.end()
    found.append(paragraph[start:].strip())
    return [sentence for sentence in found if sentence]
