"""Compiled message catalogues (`.mo`, the GNU gettext format), read as data."""

from __future__ import annotations

import struct
from collections.abc import Iterator

_MAGIC = {b"\xde\x12\x04\x95": "<", b"\x95\x04\x12\xde": ">"}


def catalogue(content: bytes) -> Iterator[tuple[str, str]]:
    """Yield (message, translation) without contexts; of a message with plural forms, the singular.

    The standard library's reader would compile the catalogue's plural rule as code; this one reads text only.

    Raises:
        ValueError: the content is not a catalogue, is cut short, or is not UTF-8.
    """
    order = _MAGIC.get(content[:4])
    if order is None or len(content) < 20:
        raise ValueError("not a message catalogue")
    count, originals, translations = struct.unpack_from(f"{order}3I", content, 8)
    for index in range(count):
        message = _text(content, order, originals + 8 * index)
        translation = _text(content, order, translations + 8 * index)
        if message:  # the empty message holds the header
            yield message.split("\x04")[-1].split("\x00")[0], translation.split("\x00")[0]


def _text(content: bytes, order: str, at: int) -> str:
    try:
        length, offset = struct.unpack_from(f"{order}2I", content, at)
    except struct.error as error:
        raise ValueError("the message catalogue is cut short") from error
    if offset + length > len(content):
        raise ValueError("the message catalogue is cut short")
    return content[offset:offset + length].decode("utf-8")
