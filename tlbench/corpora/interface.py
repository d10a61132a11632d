"""The embedded corpus `interface`: interface strings in English with their French translation.

From the message catalogues that `jupyterlab-language-pack-fr-FR` and Django install. The split goes by group
of near-duplicates ("Delete selected file", "Delete selected files"), so that none has members on both sides.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from tlbench.corpora import distributions, store
from tlbench.corpora.catalogues import catalogue
from tlbench.errors import UserError
from tlbench.sources import DataSource

PACKAGES = ("django", "jupyterlab-language-pack-fr-FR")
FOLDERS = {("locale", locale, "LC_MESSAGES") for locale in ("fr", "fr_FR")}
LICENCE = "BSD-3-Clause (Django, Project Jupyter and their translators)"
MIN_WORDS = 3
MAX_WORDS = 40
TEST_SHARE = 4
NEAR = 0.5
"""On letters rather than words: strings are short, and "file" differs from "files"."""
_REMEDY = 'run pip install "tlbench[embedded]"'
_PLACEHOLDER = re.compile(r"%\(\w+\)[a-z]|%[a-z\d]|\{\w*\}|<[^>]+>|&\w+;")
_WORD = re.compile(r"[^\W\d_]+")


@dataclass(frozen=True, slots=True)
class Message:
    """An English string and its French translations, the first found one first.

    Attributes:
        key: Hash of the source, its name in records, which hold no text.
        english: Source, white space collapsed, placeholders as they are.
        french: One or more translations.
        group: Number shared by near-duplicates.
        test: Whether the group is on the test side.
    """

    key: str
    english: str
    french: tuple[str, ...]
    group: int
    test: bool


def unavailable(source: DataSource) -> str | None:
    """Return why the strings cannot be read here, in one sentence, or `None`."""
    absent = distributions.missing(PACKAGES)
    names = " and ".join(absent)
    return f"the French interface strings of {names} are not installed: {_REMEDY}" if absent else None


def messages(source: DataSource) -> tuple[Message, ...]:
    """Return all strings of both sides, sorted by their English text.

    Raises:
        UserError: a package is missing or a catalogue is damaged.
    """
    return tuple(Message(_digest(english).hex()[:12], english, tuple(french), group, test)
                 for english, french, group, test in store.rows(_prepared(source)))


def training_strings(source: DataSource) -> list[tuple[str, str]]:
    """Return (English, French) of the training side, for pre-training.

    Raises:
        UserError: as `messages`.
    """
    return [(message.english, french) for message in messages(source) if not message.test
            for french in message.french]


def provenance(source: DataSource) -> Mapping[str, Any]:
    """Return `packages` (name to version), `fingerprint` (SHA-256 of the rows) and `counts`.

    Raises:
        UserError: as `messages`.
    """
    return store.header(_prepared(source))


def identity(source: DataSource) -> Mapping[str, Any]:
    """Return what pins the rows: the hash of their content."""
    return {"interface": provenance(source)["fingerprint"]}


def _prepared(source: DataSource) -> Path:
    found = [distributions.require(name, _REMEDY) for name in PACKAGES]
    return store.prepared(source, "interface", found, lambda: _prepare(found))


def _prepare(found: Sequence[metadata.Distribution]) -> tuple[list[tuple[Any, ...]], dict[str, int]]:
    """Read the catalogues; return a row per English string, and the counts."""
    paths = [str(one.locate_file(str(path))) for one in found for path in distributions.files(one, ".mo")
             if path.parts[-4:-1] in FOLDERS]
    pairs = [pair for path in paths for pair in _pairs(path)]
    french: dict[str, list[str]] = {}
    for english, translation in pairs:
        if _usable(english, translation) and translation not in french.setdefault(english, []):
            french[english].append(translation)
    sources = sorted(english for english, translations in french.items() if translations)
    numbers = _group(sources, french)
    rows = [(english, french[english], number, _is_test(sources[number]))
            for english, number in zip(sources, numbers, strict=True)]
    return rows, {"messages": len(pairs), "kept": len(rows), "groups": len(set(numbers))}


def _pairs(path: str) -> Iterator[tuple[str, str]]:
    """Yield the pairs of one catalogue with white space collapsed."""
    try:
        for english, translation in catalogue(Path(path).read_bytes()):
            yield " ".join(english.split()), " ".join(translation.split())
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read the message catalogue {path!r} ({error}): "
                        "reinstall the package that holds it") from error


def _usable(english: str, french: str) -> bool:
    """Tell a translated string of enough words that kept its placeholders."""
    long_enough = len(_WORD.findall(_PLACEHOLDER.sub(" ", english))) >= MIN_WORDS
    # Pasted settings are no interface strings.
    short_enough = len(english.split()) <= MAX_WORDS and '{ "' not in english
    kept = sorted(_PLACEHOLDER.findall(english)) == sorted(_PLACEHOLDER.findall(french))
    return long_enough and short_enough and kept and bool(french) and english != french


def _group(sources: Sequence[str], french: Mapping[str, Sequence[str]]) -> list[int]:
    """Return a group per source; two strings meet when either language's texts nearly agree."""
    from tlbench.corpora.duplicates import groups

    views = [[_letters(text) for text in sources], [_letters(french[text][0]) for text in sources]]
    return groups(views, NEAR)


def _letters(text: str) -> str:
    """Space the letters out, so that grams of words become grams of letters; placeholders do not count."""
    return " ".join("".join(_WORD.findall(_PLACEHOLDER.sub(" ", text.lower()))))


def _is_test(representative: str) -> bool:
    """Tell the side of a group by its first string: one in four is on the test side."""
    return int.from_bytes(_digest(representative)[:8], "big") % TEST_SHARE == 0


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
