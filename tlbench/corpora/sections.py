"""The parts of a docstring: summary line, extended description, documented parameters, plain prose.

Reads the two styles that the listed packages use, numpydoc (underlined headings) and Google (`Args:`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

_UNDERLINE = re.compile(r"^\s*(-{3,}|={3,}|~{3,})\s*$")
_NUMPY_PARAMETERS = {"parameters", "other parameters", "keyword arguments", "arguments"}
_GOOGLE = re.compile(
    r"^(Args|Arguments|Parameters|Params|Keyword Args|Keyword Arguments|Kwargs|Attributes|Returns?|Yields?|"
    r"Raises?|Examples?|Example usage|Usage|Notes?|See Also|References?|Warnings?|Inputs?|Outputs?|Shape|"
    r"Tips?|Todo|Variables|Methods|Citation|Call arguments|Learn more)\s*:{1,2}\s*$", re.IGNORECASE)
_GOOGLE_PARAMETERS = {"args", "arguments", "parameters", "params", "keyword args", "keyword arguments",
                      "kwargs"}
_FIELD = re.compile(r"^\s*[:@](param|type|return|rtype|raise|arg|keyword|kwarg|see|note|yield|var|ivar)",
                    re.IGNORECASE)
_NUMPY_ITEM = re.compile(r"^(\*{0,2}`{0,2}[A-Za-z_]\w*`{0,2}(?:\s*,\s*\*{0,2}[A-Za-z_]\w*)*)\s*(?::.*)?$")
_GOOGLE_ITEM = re.compile(r"^[-*]?\s*(\*{0,2}`{0,2}[A-Za-z_]\w*`{0,2})\s*"
                          r"(\([^()]*(?:\([^()]*\)[^()]*)*\))?\s*(?::|--)\s*(.*)$")
_TYPE_TAIL = re.compile(r"^(?:`{0,2}(?:optional|required)`{0,2}|[Dd]efaults? (?:to|is|=).{0,60}|[\s,.*])+$")
_DIRECTIVE = re.compile(r"^\.\.(\s|$)")
_NOISE = re.compile(r"^\s*(>>>|\.\.\. |\.\.\.$|In \[|Out\[|\$ |[+|=\-]{3,}|\|.*\|\s*$|<[/!\w])|[│├└]")
_LISTED = re.compile(r"^\s*([-*+•]|\d+[.)]|\(?[a-z]\))\s|^\s{4}")
_STRAY = re.compile(r"^\s*(Args|Arguments|Parameters|Returns?|Raises|Yields|Examples?|Attributes)\s*:?\s*$")
_SIGNATURE = re.compile(r"^[\w.]+\((?:[^()]|\([^()]*\))*\)\s*(?:->\s*\S+)?\s*(?=$|[A-Z])")
_FENCE = re.compile(r"^\s*(```|~~~)")


@dataclass(frozen=True, slots=True)
class Sections:
    """Parts of one docstring, markup included.

    Attributes:
        summary: First paragraph, on one line.
        extended: Further paragraphs before the first section, each on one line.
        notes: Paragraphs of the section Notes.
        parameters: Name and description of each documented parameter, type lines and defaults left out.
    """

    summary: str
    extended: tuple[str, ...]
    notes: tuple[str, ...]
    parameters: tuple[tuple[str, str], ...]

    @property
    def prose(self) -> tuple[str, ...]:
        """Return all running text: summary, extended description, notes."""
        return tuple(part for part in (self.summary, *self.extended, *self.notes) if part)


@lru_cache(maxsize=1 << 16)
def sections(docstring: str) -> Sections:
    """Split a docstring (dedented, as `ast.get_docstring` gives it) into its parts."""
    parts = list(_headed(docstring.splitlines()))
    notes: list[str] = []
    parameters: list[tuple[str, str]] = []
    opening = _GOOGLE_ITEM.match(docstring.partition("\n")[0])
    if opening and opening.group(2):  # a list of parameters without a title
        head = []
        parameters += _google_items(parts[0][1])
    else:
        head = paragraphs([_SIGNATURE.sub("", line) for line in parts[0][1][:1]] + parts[0][1][1:])
    for title, lines, style in parts[1:]:
        if title.rstrip("s") == "note":
            notes += paragraphs(_dedent(lines))
        elif style == "numpy" and title in _NUMPY_PARAMETERS:
            parameters += _numpy_items(lines)
        elif style == "google" and title in _GOOGLE_PARAMETERS:
            parameters += _google_items(_dedent(lines))
    return Sections(head[0] if head else "", tuple(head[1:]), tuple(notes), tuple(parameters))


def paragraphs(lines: Sequence[str]) -> list[str]:
    """Return the paragraphs of running text, each on one line.

    Code, doctests, literal blocks, directives and what is indented below them, tables and lists are left out.
    """
    found: list[list[str]] = [[]]
    skip_below: int | None = None  # indentation at or under which a literal block or directive ends
    fenced = False
    for line in lines:
        if _FENCE.match(line):
            fenced = not fenced
            found.append([])
            continue
        if not line.strip():
            found.append([])
            continue
        indent = len(line) - len(line.lstrip())
        if skip_below is not None and indent <= skip_below:
            skip_below = None
        if fenced or skip_below is not None:
            continue
        if _DIRECTIVE.match(line.lstrip()):
            skip_below = indent
            found.append([])
            continue
        found[-1].append(line)
        if line.rstrip().endswith("::"):
            skip_below = indent
    return [text for block in found if (text := _running(block))]


def _running(block: Sequence[str]) -> str:
    """Join a block of lines if it is running text; lists, tables, formulas and code give an empty text."""
    if not block or any(_NOISE.search(line) for line in block) or _FIELD.match(block[0]):
        return ""
    if _STRAY.match(block[0]) or _LISTED.match(block[0]):
        return ""
    text = " ".join(line.strip() for line in block)
    return re.sub(r"\s+", " ", re.sub(r"::$", ":", text)).strip()


def _headed(lines: Sequence[str]) -> Iterator[tuple[str, list[str], str]]:
    """Yield (title in lower case, lines, style) of each section; the head comes first, untitled."""
    title, style = "", ""
    body: list[str] = []
    indent = 0
    index = 0
    while index < len(lines):
        line = lines[index]
        below = lines[index + 1] if index + 1 < len(lines) else ""
        if line.strip() and _UNDERLINE.match(below) and abs(len(below.strip()) - len(line.strip())) <= 3:
            yield title, body, style
            title, style, body, index = line.strip().lower(), "numpy", [], index + 2
            continue
        here = len(line) - len(line.lstrip())
        if (match := _GOOGLE.match(line.strip())) and (not title or style == "numpy" or here <= indent):
            yield title, body, style
            title, style, body, indent = match.group(1).lower(), "google", [], here
        elif style == "google" and line.strip() and here < indent + 1 and body and not body[-1].strip():
            yield title, body, style
            title, style, body = "after", "google", [line]
        else:
            body.append(line)
        index += 1
    yield title, body, style


def _dedent(lines: Sequence[str]) -> list[str]:
    filled = [len(line) - len(line.lstrip()) for line in lines if line.strip()]
    margin = min(filled, default=0)
    return [line[margin:] for line in lines]


def _numpy_items(lines: Sequence[str]) -> list[tuple[str, str]]:
    """Return parameters of a numpydoc section: a name at the margin, its description indented below."""
    items = _items(_dedent(lines), _NUMPY_ITEM)
    return [(name, text) for name, body in items if (text := _first_paragraphs(body))]


def _google_items(lines: Sequence[str]) -> list[tuple[str, str]]:
    """Return parameters of a Google section: `name (type): description`, which may start on the next line."""
    items = _items(lines, _GOOGLE_ITEM)
    return [(name, text) for name, body in items if (text := _first_paragraphs(body))]


def _items(lines: Sequence[str], pattern: re.Pattern[str]) -> Iterator[tuple[str, list[str]]]:
    name, body = "", list[str]()
    for line in lines:
        match = pattern.match(line) if line[:1].strip() else None
        if match:
            if name:
                yield name, body
            name = match.group(1).replace("`", "").lstrip("*")
            rest = match.group(3) if pattern is _GOOGLE_ITEM else ""
            body = [] if not rest or _TYPE_TAIL.match(rest) else [rest]
        elif line[:1].strip():
            if name:
                yield name, body
            name, body = "", []
        else:
            body.append(line)
    if name:
        yield name, body


def _first_paragraphs(body: Sequence[str]) -> str:
    first, rest = (body[:1], body[1:]) if body and body[0][:1].strip() else ([], body)
    return " ".join(paragraphs([*first, *_dedent(rest)]))
