"""Tasks whose rows are files of a repository on the Hub: name the files, and say how a row becomes an example."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from tlbench.errors import UserError
from tlbench.sources import DataSource, HubFiles
from tlbench.task import Example, Splits, Task


class HubTask(Task):
    """A task of the Hub, pinned by the repository's revision and, in a mirror, by the content of its rows.

    A subclass names `hub` and `columns` and defines `to_example`, or `examples` where one example takes several rows,
    or `load` where the official splits are not what is wanted.

    Attributes:
        hub: The repository, its revision, and the files of each split.
        columns: Columns that are kept of each row, in order; all where empty.
        rows_sha256: Fingerprint of the kept columns of each split (`tlbench.sources.fingerprint`), which a mirror has
            to serve. Of a task without any, a mirror is identified by the hashes of its files.
    """

    hub: ClassVar[HubFiles]
    columns: ClassVar[tuple[str, ...]] = ()
    rows_sha256: ClassVar[Mapping[str, str]] = {}

    def __init_subclass__(cls, **given: Any) -> None:
        """Refuse a task that names no files, or does not say what becomes of their rows.

        Raises:
            TypeError: it is so.
        """
        super().__init_subclass__(**given)
        makes = any(getattr(cls, name) is not getattr(HubTask, name) for name in ("to_example", "examples", "load"))
        if hasattr(cls, "name") and not (makes and hasattr(cls, "hub")):
            raise TypeError(f"{cls.__name__} needs `hub`, and `to_example`, `examples` or `load`")

    def to_example(self, name: str, row: Mapping[str, Any]) -> Example:
        """Return the example of one row; `name` is its split and number, an id that nothing else has."""
        raise NotImplementedError

    def examples(self, source: DataSource, split: str) -> Sequence[Example]:
        """Return the examples of one split, in order."""
        return [self.to_example(f"{split}-{at}", row) for at, row in enumerate(self.rows(source, split))]

    def load(self, source: DataSource) -> Splits:
        """Return the official splits; a task may lack the one for validation."""
        train = self.examples(source, "train")
        validation = self.examples(source, "validation") if "validation" in self.hub.files else None
        return Splits(train=train, validation=validation, test=self.examples(source, "test"))

    def rows(self, source: DataSource, split: str) -> list[dict[str, Any]]:
        """Return the kept columns of one split's rows.

        Raises:
            UserError: a file is missing or unreadable, a column is missing, or the rows are not the pinned ones.
        """
        return source.rows(self.hub, split, columns=self.columns, expected=self.rows_sha256.get(split))

    def numbered(self, source: DataSource, split: str) -> dict[int, str]:
        """Return the names of numbers, from a JSON file that maps each name to its number.

        Raises:
            UserError: the file is missing, holds something else, or is not the pinned one.
        """
        path = source.path(self.hub, self.hub.files[split][0])
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
            names = {int(number): str(name) for name, number in stored.items()}
        except (ValueError, AttributeError, TypeError) as error:
            raise UserError(f"{str(path)!r} does not map names to numbers: fetch it again") from error
        source.check(self.hub, split, [stored], self.rows_sha256.get(split))
        return names

    def identity(self, source: DataSource) -> Mapping[str, Any]:
        """Return the pinned rows or the files of a mirror, or the Hub's revision."""
        return source.pins(self.hub, self.rows_sha256)

    def unavailable(self, source: DataSource) -> str | None:
        """Return why the files cannot be had here."""
        return source.missing(self.hub)
