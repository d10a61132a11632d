"""Hold out test rows by content, for data that come without a test split."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

TEST_SHARE = 0.2
RULE = 2
"""Version of the rule; it is in the keys of the tasks that use it."""


def hold_out(inputs: Sequence[str], groups: Sequence[str | None], share: float = TEST_SHARE) -> list[bool]:
    """Choose test rows by content: the order of rows and the name of the file change nothing.

    Rows with equal inputs or equal groups stay together. Clusters of them are taken in random order, as long as
    they fit into `share` of the rows; where none fits, the smallest is taken. The order is that of a hash of the
    smallest hash of their inputs: by the smallest hash itself large clusters would come first.

    Args:
        inputs: What a model sees of each row.
        groups: Group of each row, or `None`.
        share: Part of the rows to hold out.

    Returns:
        Whether each row is held out; none where all rows hang together.
    """
    hashes = [_hash(text) for text in inputs]
    members: dict[int, list[int]] = {}
    for row, cluster in enumerate(_clusters(hashes, groups)):
        members.setdefault(cluster, []).append(row)
    clusters = sorted(members.values(), key=lambda rows: _hash(min(hashes[row] for row in rows)))
    chosen: list[int] = []
    for rows in clusters:
        if len(chosen) + len(rows) <= round(share * len(inputs)):
            chosen += rows
    if not chosen and len(clusters) > 1:
        chosen = min(clusters, key=len)
    held = set(chosen)
    return [row in held for row in range(len(inputs))]


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _clusters(hashes: Sequence[str], groups: Sequence[str | None]) -> list[int]:
    """Number the clusters of rows that an equal hash or an equal group connects (union-find)."""
    parent = list(range(len(hashes)))

    def root(row: int) -> int:
        while parent[row] != row:
            parent[row] = parent[parent[row]]
            row = parent[row]
        return row

    first: dict[tuple[str, str], int] = {}
    for row, (content, group) in enumerate(zip(hashes, groups, strict=True)):
        keys = [("input", content)] + ([("group", group)] if group is not None else [])
        for key in keys:
            parent[root(row)] = root(first.setdefault(key, row))
    return [root(row) for row in range(len(hashes))]
