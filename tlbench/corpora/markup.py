"""Plain words from docstring markup (reStructuredText, Markdown), and sentences from paragraphs."""

from __future__ import annotations

import re

_ROLE = re.compile(r":[a-z]+(?::[a-z]+)*:`([^`]+)`")
_TITLED = re.compile(r"^(.*\S)\s*<[^<>]+>$")
_RST_LINK = re.compile(r"`([^`<>]+?)\s*<[^`<>]*>`_{1,2}")
_MD_LINK = re.compile(r"!?\[([^\[\]]+)\]\([^()\s]*\)")
_CITATION = re.compile(r"\s*(?:\[[\w.-]+\]_|\|[^|\s][^|]*\|_?)")
_TICKS = re.compile(r"(?<!`)(`{1,2})([^`]+)\1(?!`)_{0,2}")
_STARS = re.compile(r"(?<![\w*])(\*{1,2})(?=\S)([^*]+?)(?<=\S)\1(?![\w*])")
_URL = re.compile(r"\s*\((?:see|cf\.?|from)?:?\s*https?://[^\s)]+\)|<?https?://[^\s>)]*[^\s>).,;]>?")
_TEMPLATE = re.compile(r"%\(\w+\)s")
_SPACED = re.compile(r"\s+([.,;:)](?=\s|$))")
_BREAK = re.compile(r"(?<=[.!?])[)\]'\"`]*\s+(?=[\"'`(\[:*]*[A-Z])")
_SHORT = re.compile(r"(?:\b(?:e\.g|i\.e|etc|cf|vs|resp|Figs?|Eqs?|Sec|Refs?|al|approx|No|St|Dr|pp?|eq|ref)|"
                    r"\b[A-Z])\.$")


def role_target(inside: str) -> str:
    """Return what a role shows: `~torch.nn.Linear` shows `Linear`, `title <target>` its title."""
    titled = _TITLED.match(inside)
    shown = titled.group(1) if titled else inside.split(".")[-1] if inside.startswith("~") else inside
    return shown.lstrip("~!.").removesuffix("()").strip()


def plain(text: str) -> str:
    """Return a paragraph as a reader sees it: roles, quotes, emphasis, links and citation marks resolved."""
    text = _ROLE.sub(lambda match: role_target(match.group(1)), text)
    text = _RST_LINK.sub(r"\1", text)
    text = _CITATION.sub("", text)
    text = _MD_LINK.sub(r"\1", text)
    text = _TICKS.sub(r"\2", text)
    text = _STARS.sub(r"\2", text)
    text = re.sub(r"\[([A-Za-z_][\w.]*)\]", r"\1", _URL.sub("", text))
    return re.sub(r"\s+", " ", _SPACED.sub(r"\1", _TEMPLATE.sub("", text).replace("\\", ""))).strip()


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
