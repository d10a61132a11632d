"""The board of a folder on disk, rendered again only if its records changed."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from tlbench import __version__
from tlbench.errors import UserError
from tlbench.files import write_atomically
from tlbench.records import Store

MARKDOWN, JSON = "README.md", "board.json"
TITLE = "# Does transfer help here?"
"""First line of every board."""


def render_folder(folder: Path) -> str:
    """Write `README.md` and `board.json` of a results folder and return the markdown.

    The JSON keeps a digest of the record names (which hold content hashes) and of the code that renders, so that
    an unchanged folder is answered without parsing a record; that each still fits its name is checked all the same.

    Raises:
        UserError: no records, a changed record, a README.md of somebody else's, or a folder that cannot be written to.
    """
    check_free(folder)
    store = Store(folder)
    names = store.names()
    for name in names:
        store.content(name)
    digest = hashlib.sha256("\n".join([__version__, _code(), *names]).encode()).hexdigest()
    held = _held(folder, digest)
    if held is not None:
        return held
    from tlbench.boards.document import as_json
    from tlbench.boards.markdown import render
    from tlbench.boards.rows import build

    board = build(store)
    markdown = render(board)
    content = {"rendered_from": digest, "markdown_sha256": _sha(markdown), **as_json(board)}
    try:
        write_atomically(folder / JSON, (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode())
        write_atomically(folder / MARKDOWN, markdown.encode())
    except OSError as error:
        raise UserError(f"the board cannot be written to {str(folder)!r} ({error.strerror}): free some space or mend "
                        "its permissions; the records are safe") from error
    return markdown


def check_free(folder: Path) -> None:
    """Check that a board may be written to a folder: a README.md there must begin as a board's does.

    Raises:
        UserError: tlbench did not write it.
    """
    try:
        with (folder / MARKDOWN).open(encoding="utf-8", errors="replace") as file:
            first = file.readline().strip()
    except OSError:  # there is none, or it cannot be read, which writing will show
        return
    if first != TITLE:
        raise UserError(f"{str(folder / MARKDOWN)!r} was not written by tlbench and would be replaced by the board: "
                        "give another folder (--out), or move the file")


def _code() -> str:
    """Return the hash of the modules that can make a board: all but what trains."""
    package = Path(__file__).parents[1]
    paths = sorted(path for part in (".", "boards", "kinds") for path in (package / part).glob("*.py"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()


def _held(folder: Path, digest: str) -> str | None:
    """Return the markdown on disk if it was rendered from exactly these records and not edited since."""
    try:
        content = json.loads((folder / JSON).read_text(encoding="utf-8"))
        markdown = (folder / MARKDOWN).read_text(encoding="utf-8")
    except (OSError, ValueError):
        return None
    fits = content.get("rendered_from") == digest and content.get("markdown_sha256") == _sha(markdown)
    return markdown if fits else None


def _sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
