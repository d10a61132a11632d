"""Where data sets are read from: the Hugging Face Hub, a mirror folder of it, and this machine's cache."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tlbench.errors import UserError


def cache_folder() -> Path:
    """Return the folder for caches: `TLBENCH_CACHE`, else `tlbench` in the user's cache folder."""
    given = os.environ.get("TLBENCH_CACHE")
    if given:
        return Path(given).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tlbench"


@dataclass(frozen=True)
class HubFiles:
    """Explicit data files of one Hub repository at one revision.

    Attributes:
        repository: `owner/name` of a data set repository.
        revision: Commit, tag or branch; a published task pins a commit.
        files: Split name to paths inside the repository (JSON, JSON Lines or Parquet).
    """

    repository: str
    revision: str
    files: dict[str, tuple[str, ...]]


@dataclass(frozen=True)
class DataSource:
    """How a task reaches files.

    Attributes:
        cache: Folder for parsed data, keyed by content.
        mirror: Root under which `owner/name/<path>` lies as on the Hub, or `None` for the Hub itself.
        offline: Never open a socket.
    """

    cache: Path = field(default_factory=cache_folder)
    mirror: Path | None = None
    offline: bool = False

    def missing(self, hub: HubFiles) -> str | None:
        """Return why the files cannot be had here without a download, or `None`."""
        if self.mirror is not None:
            absent = [path for paths in hub.files.values() for path in paths
                      if not (self.mirror / hub.repository / path).is_file()]
            if absent:
                return f"the mirror {str(self.mirror)!r} does not hold {hub.repository}/{absent[0]}"
            return None
        if self.offline and not all(self._cached(hub, path) for paths in hub.files.values() for path in paths):
            return f"{hub.repository} is not in the Hub cache and this run is offline: give --mirror or run prefetch"
        return None

    def path(self, hub: HubFiles, path: str) -> Path:
        """Return a local path of one file, downloading it from the Hub if need be.

        Raises:
            UserError: the file is neither in the mirror nor reachable.
        """
        if self.mirror is not None:
            local = self.mirror / hub.repository / path
            if not local.is_file():
                raise UserError(f"the mirror {str(self.mirror)!r} does not hold {hub.repository}/{path}: "
                                "copy the repository there or drop --mirror")
            return local
        return self._download(hub, path)

    def rows(self, hub: HubFiles, split: str) -> list[dict[str, Any]]:
        """Return the rows of one split as dictionaries, read by datasets' JSON or Parquet builder."""
        import datasets

        paths: Sequence[str] = hub.files[split]
        builder = "parquet" if paths[0].endswith(".parquet") else "json"
        local = [str(self.path(hub, path)) for path in paths]
        table = datasets.load_dataset(builder, data_files={split: local}, split=split,
                                      cache_dir=str(self.cache / "datasets"))
        return [dict(row) for row in table]

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
