"""Files that several processes read and write: hashed, locked, and there whole or not at all."""

from __future__ import annotations

import fcntl
import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tlbench.errors import UserError

_UMASK = os.umask(0o077)
os.umask(_UMASK)


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's content in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def held(path: Path, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Run the block while no other process of this machine holds the lock file; it ends with its process.

    Args:
        path: The lock file; its folder is made.
        waiting: Called once if another process holds it.

    Raises:
        OSError: the file cannot be made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waiting()
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that it is there whole or not at all: temporary name, flushed to disk, renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:40]}-", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        share(Path(temporary))
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def share(path: Path) -> None:
    """Give a temporary file or folder, which tempfile makes for its owner alone, the mode that others have."""
    path.chmod((0o777 if path.is_dir() else 0o666) & ~_UMASK)


@contextmanager
def writing_to_cache(folder: Path) -> Iterator[None]:
    """Say what to do where a folder of the cache cannot be written to.

    Raises:
        UserError: instead of an OSError of the block.
    """
    try:
        yield
    except OSError as error:
        raise UserError(f"cache folder {str(folder)!r} cannot be written to ({error.strerror}): free some space, "
                        "mend its permissions, or set TLBENCH_CACHE to another folder") from error


def write_cache(path: Path, content: bytes) -> None:
    """Write a file of the cache atomically.

    Raises:
        UserError: the cache cannot be written to or the disk is full.
    """
    with writing_to_cache(path.parent):
        write_atomically(path, content)
