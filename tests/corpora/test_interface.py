"""Message catalogues read as data, and the strings they make."""

from __future__ import annotations

import re
import struct

import pytest

from tlbench import DataSource
from tlbench.corpora import interface
from tlbench.corpora.catalogues import catalogue


def compiled(messages: dict[str, str], order: str = "<") -> bytes:
    """Return a catalogue as msgfmt writes it."""
    pairs = [(key.encode(), value.encode()) for key, value in sorted(messages.items())]
    at = 28 + 16 * len(pairs)
    tables, blob = [b"", b""], b""
    for column in (0, 1):
        for pair in pairs:
            tables[column] += struct.pack(f"{order}2I", len(pair[column]), at + len(blob))
            blob += pair[column] + b"\x00"
    head = struct.pack(f"{order}7I", 0x950412DE, 0, len(pairs), 28, 28 + 8 * len(pairs), 0, 0)
    return head + tables[0] + tables[1] + blob


@pytest.mark.parametrize("order", ["<", ">"])
def test_catalogue_drops_header_context_and_plural(order: str) -> None:
    content = compiled({"": "Plural-Forms: nplurals=2; plural=__import__('os');\n", "menu\x04Open it": "Ouvrir",
                        "%1 file\x00%1 files": "%1 fichier\x00%1 fichiers"}, order)
    assert dict(catalogue(content)) == {"Open it": "Ouvrir", "%1 file": "%1 fichier"}


@pytest.mark.parametrize("content", [b"", b"not a catalogue at all", compiled({"a": "b"})[:-3],
                                     compiled({"a": "b"})[:30]])
def test_damaged_catalogue_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match="catalogue"):
        list(catalogue(content))


def test_packages_that_are_missing_are_named_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interface, "PACKAGES", ("no-such-package",))
    reason = interface.unavailable(DataSource()) or ""
    assert "no-such-package" in reason
    assert 'pip install "tlbench[embedded]"' in reason


def test_strings_keep_their_placeholders_and_their_group_keeps_its_side() -> None:
    messages = interface.messages(DataSource())
    sides: dict[int, set[bool]] = {}
    for message in messages:
        assert message.english not in message.french
        expected = sorted(re.findall(r"%\(\w+\)s|%\d", message.english))
        assert all(sorted(re.findall(r"%\(\w+\)s|%\d", french)) == expected for french in message.french)
        sides.setdefault(message.group, set()).add(message.test)
    assert all(len(side) == 1 for side in sides.values())


def test_training_strings_are_of_the_training_side() -> None:
    tested = {message.english for message in interface.messages(DataSource()) if message.test}
    strings = interface.training_strings(DataSource())
    assert len(strings) > 1000
    assert not tested & {english for english, _ in strings}
