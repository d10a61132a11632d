"""Canonical JSON and content hashes of frozen values.

One value has one text: keys sorted, no white space, dataclasses tagged with their class name so that two
members of a union never hash alike.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from typing import Any


def added(default: Any) -> Any:
    """Return a dataclass field that came after keys were published.

    It is left out of the canonical form while it has its default, so that what does not use it keeps its key.

    Args:
        default: An immutable value, which must mean what the code did before the field existed.
    """
    return dataclasses.field(default=default, metadata={"added": True})


def plain(value: Any) -> Any:
    """Return `value` as JSON types only.

    Dataclasses become dictionaries with a `type` entry, tuples become lists; fields that are `added` are left
    out while they have their default.

    Raises:
        TypeError: the value holds something that has no canonical JSON form (a set, a float NaN, an object).
    """
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        if value != value or value in (float("inf"), float("-inf")):
            raise TypeError(f"{value!r} has no canonical form: a setting must be a finite number")
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {"type": type(value).__name__, **{name: plain(item) for name, item in settings(value).items()}}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    raise TypeError(f"{value!r} of type {type(value).__name__} has no canonical form: use JSON types or a dataclass")


def storable(value: Any) -> Any:
    """Return whatever a plugin made as JSON types that any file can hold: halves of characters and objects as text."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if value is None or isinstance(value, bool | int | float):
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {"type": type(value).__name__, **{name: storable(item) for name, item in settings(value).items()}}
    if isinstance(value, Mapping):
        return {storable(str(key)): storable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [storable(item) for item in value]
    return storable(repr(value))


def settings(value: Any) -> dict[str, Any]:
    """Return a dataclass's fields by name, without those that are `added` and have their default."""
    held = {f: getattr(value, f.name) for f in dataclasses.fields(value)}
    return {f.name: item for f, item in held.items() if not (f.metadata.get("added") and item == f.default)}


def canonical_json(value: Any) -> str:
    """Return the one JSON text of `value`."""
    return json.dumps(plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def digest(value: Any, length: int = 64) -> str:
    """Return the first `length` hex digits of the SHA-256 of the canonical JSON of `value`."""
    return hashlib.sha256(canonical_json(value).encode("utf-8")).hexdigest()[:length]
