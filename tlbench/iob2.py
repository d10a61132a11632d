"""IOB2, the scheme of entity tags: an entity begins with `B-` and its type and goes on with `I-`; the rest is `O`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

OUTSIDE = "O"

Entity = tuple[str, int, int]
"""Type, first word, word after the last."""


def entities(tags: Sequence[str]) -> set[Entity]:
    """Return the entities of a tag sequence, as seqeval finds them in strict mode with the scheme IOB2.

    An `I-` that continues nothing belongs to no entity.

    Raises:
        ValueError: a tag is neither `O` nor `B-` or `I-` with a type.
    """
    found = set()
    begin, kind = -1, ""
    for place, tag in enumerate([*tags, OUTSIDE]):
        if tag != OUTSIDE and not is_entity_tag(tag):
            raise ValueError(f"{tag!r} is no IOB2 tag: use 'O', or 'B-' or 'I-' and a type")
        if kind and tag != f"I-{kind}":
            found.add((kind, begin, place))
            kind = ""
        if tag.startswith("B-"):
            begin, kind = place, tag[2:]
    return found


def is_entity_tag(tag: Any) -> bool:
    """Return whether a tag is `B-` or `I-` and a type."""
    return isinstance(tag, str) and tag[:2] in ("B-", "I-") and len(tag) > 2


def entity_types(tags: Sequence[str]) -> tuple[str, ...]:
    """Return the types that tags name, sorted."""
    return tuple(sorted({tag[2:] for tag in tags if tag != OUTSIDE}))


def may_follow(tag: str | None, before: str | None) -> bool:
    """Return whether a tag may stand behind another (`O` at the start); `None` is a word without a tag."""
    return tag is None or not tag.startswith("I-") or (before is not None and before[1:] == tag[1:])


def legal(tags: Sequence[str]) -> tuple[str, ...]:
    """Return the tags with every `I-` that continues no entity of its type turned into `B-`."""
    before = (OUTSIDE, *tags)
    return tuple(tag if may_follow(tag, last) else f"B-{tag[2:]}" for last, tag in zip(before, tags, strict=False))


def mention(kind: str, words: int) -> list[str]:
    """Return the tags of an entity of so many words."""
    return [f"B-{kind}", *[f"I-{kind}"] * (words - 1)][:words]
