"""Where data sets are read from: the Hugging Face Hub, a mirror folder of it, and this machine's cache."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tlbench.canonical import canonical_json
from tlbench.errors import UserError
from tlbench.files import file_sha256


def cache_folder() -> Path:
    """Return the folder for caches: `TLBENCH_CACHE`, else `tlbench` in the user's cache folder."""
    given = os.environ.get("TLBENCH_CACHE")
    if given:
        return Path(given).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tlbench"


def offline_wanted() -> bool:
    """Return whether `HF_HUB_OFFLINE` forbids the network, as huggingface_hub reads it."""
    return os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on")


def fingerprint(rows: Iterable[Any]) -> str:
    """Return the SHA-256 of rows: one canonical JSON line each, in file order.

    It hashes what was read, not the bytes of a file, so the same rows in another container hash alike.
    """
    state = hashlib.sha256()
    for row in rows:
        state.update(canonical_json(row).encode("utf-8"))
        state.update(b"\n")
    return state.hexdigest()


@dataclass(frozen=True)
class HubFiles:
    """Explicit data files of one Hub repository at one revision.

    Attributes:
        repository: `owner/name` of a data set repository.
        revision: Commit, tag or branch; a published task pins a commit where one is known.
        files: Split name to paths inside the repository (JSON, JSON Lines, CSV or Parquet).
    """

    repository: str
    revision: str
    files: dict[str, tuple[str, ...]]


@dataclass(frozen=True)
class DataSource:
    """How a task reaches files.

    Attributes:
        cache: Folder for parsed data, keyed by content.
        mirror: Root under which `owner/name/<path>` lies as on the Hub, or `None` for the Hub itself. A
            mirror may leave out the leading `data/` of a path.
        offline: Never open a socket.
        any_rows: Accept a mirror's rows whose fingerprint is not the one that the task pins; their cells get
            a key of their own.
    """

    cache: Path = field(default_factory=cache_folder)
    mirror: Path | None = None
    offline: bool = False
    any_rows: bool = False

    def missing(self, hub: HubFiles) -> str | None:
        """Return why the files cannot be had here without a download, or `None`."""
        paths = [path for listed in hub.files.values() for path in listed]
        if self.mirror is not None:
            absent = [path for path in paths if self._mirrored(hub, path) is None]
            missing = f"the mirror {str(self.mirror)!r} does not hold {hub.repository}/"
            return missing + absent[0] if absent else None
        if self.offline and not all(self._cached(hub, path) for path in paths):
            return f"{hub.repository} is not in the Hub cache and this run is offline: give --mirror"
        return None

    def path(self, hub: HubFiles, path: str) -> Path:
        """Return a local path of one file, downloading it from the Hub if need be.

        Raises:
            UserError: the file is neither in the mirror nor reachable.
        """
        if self.mirror is None:
            return self._download(hub, path)
        local = self._mirrored(hub, path)
        if local is None:
            raise UserError(f"the mirror {str(self.mirror)!r} does not hold {hub.repository}/{path}: "
                            "copy the repository there or drop --mirror")
        return local

    def rows(
        self, hub: HubFiles, split: str, *, columns: Sequence[str] = (), expected: str | None = None
    ) -> list[dict[str, Any]]:
        """Return the rows of one split as dictionaries, read by datasets' JSON, CSV or Parquet builder.

        Args:
            hub: Where the files are.
            split: Which of `hub.files`.
            columns: Columns to keep, in order; all where empty.
            expected: Fingerprint of the kept columns that a mirror has to serve (see `check`).

        Raises:
            UserError: a file is missing or unreadable, a column is missing, or the rows are not the pinned
                ones.
        """
        import datasets
        import pyarrow as pa

        paths: Sequence[str] = hub.files[split]
        builder = {"parquet": "parquet", "csv": "csv"}.get(paths[0].rpartition(".")[2], "json")
        # Without this the text "None" would be read as no text at all.
        options = {"keep_default_na": False} if builder == "csv" else {}
        local = [str(self.path(hub, path)) for path in paths]
        datasets.disable_progress_bars()
        try:
            table = datasets.load_dataset(builder, data_files={split: local}, split=split,
                                          cache_dir=str(self.cache / "datasets"), **options)
        except (datasets.exceptions.DatasetGenerationError, pa.ArrowException, ValueError) as error:
            raise UserError(f"cannot read {hub.repository}/{paths[0]} ({local[0]}) as {builder}: "
                            "fetch the file again, it is damaged") from error
        absent = [name for name in columns if name not in table.column_names]
        if absent:
            raise UserError(f"{hub.repository}/{paths[0]} has no column {absent[0]!r}, only "
                            f"{', '.join(table.column_names)}: it is not the file the task was written for")
        rows: list[dict[str, Any]] = (table.select_columns(list(columns)) if columns else table).to_list()
        self.check(hub, split, rows, expected)
        return rows

    def check(self, hub: HubFiles, split: str, rows: Iterable[Any], expected: str | None) -> None:
        """Compare a mirror's rows with the pinned fingerprint.

        A mirror is somebody's copy, so its rows are pinned by content. The Hub itself is pinned by the
        revision; what it served is recorded, and records whose fingerprints differ never share a table.

        Raises:
            UserError: the rows are not the pinned ones, and `any_rows` is off.
        """
        if expected is None or self.mirror is None or self.any_rows:
            return
        found = fingerprint(rows)
        if found != expected:
            raise UserError(f"the mirror's {hub.repository} ({split}) has the row fingerprint {found}, the "
                            f"task pins {expected}: restore the copy, or accept other rows with --any-rows")

    def pins(self, hub: HubFiles, rows_sha256: Mapping[str, str]) -> Mapping[str, Any]:
        """Return what pins the data of a Hub task, without reading any: its `identity`.

        Row fingerprints for a checked mirror, the revision for the Hub. A mirror's files are hashed where its rows are
        not checked: with `any_rows`, and where a task pins none, since nobody could verify any.
        """
        if self.mirror is None:
            return {"repository": hub.repository, "revision": hub.revision}
        if not rows_sha256 or self.any_rows:
            local = {path: self._mirrored(hub, path) for paths in hub.files.values() for path in paths}
            found = {path: file_sha256(file) for path, file in local.items() if file}
            return {"repository": hub.repository, "files_sha256": found}
        return {"repository": hub.repository, "rows_sha256": dict(rows_sha256)}

    def _mirrored(self, hub: HubFiles, path: str) -> Path | None:
        assert self.mirror is not None
        root = self.mirror / hub.repository
        candidates = (root / path, root / path.removeprefix("data/"))
        return next((candidate for candidate in candidates if candidate.is_file()), None)

    def _cached(self, hub: HubFiles, path: str) -> bool:
        from huggingface_hub import try_to_load_from_cache

        found = try_to_load_from_cache(hub.repository, path, revision=hub.revision, repo_type="dataset")
        return isinstance(found, str)

    def _download(self, hub: HubFiles, path: str) -> Path:
        from huggingface_hub import hf_hub_download

        try:
            return Path(hf_hub_download(hub.repository, path, revision=hub.revision, repo_type="dataset",
                                        local_files_only=self.offline))
        except Exception as error:
            raise UserError(f"cannot fetch {hub.repository}/{path} at {hub.revision} from the Hub "
                            f"({type(error).__name__}): check the network or give --mirror FOLDER") from error


def mirrored(mirror: Path | None, offline: bool = False, any_rows: bool = False) -> DataSource:
    """Return a data source, whose mirror is checked.

    Raises:
        UserError: the mirror is no folder.
    """
    if mirror is not None and not mirror.is_dir():
        raise UserError(f"mirror {str(mirror)!r} is not a folder: give the root under which owner/name/... lies")
    return DataSource(mirror=mirror, offline=offline, any_rows=any_rows)
