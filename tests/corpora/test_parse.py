"""Docstrings of synthetic files: what is found, what is named, what is skipped."""

from __future__ import annotations

from pathlib import Path

import pytest

from tlbench.corpora.parse import SourceFile, docstrings, parse_files

SOURCE = b'''"""The module."""
import does_not_exist
raise RuntimeError("must not run")

class Net(Base):
    """A net."""
    size: int
    def __init__(self, depth, *layers, width=1, **options):
        """Build it."""
        def inner():
            """Not public."""
    if True:
        async def forward(self, x): "Run it."

try:
    def load(path, /, *, strict): "Load it."
except ImportError:
    def load(path): "Load it another way."
'''


def test_docstrings_are_named_by_module_class_and_member() -> None:
    rows = {(row.name, row.owner, row.kind): row for row in docstrings("pkg.mod", SOURCE)}
    assert list(rows) == [
        ("pkg.mod", "pkg.mod", "module"),
        ("pkg.mod.Net", "pkg.mod.Net", "class"),
        ("pkg.mod.Net.__init__", "pkg.mod.Net", "method"),
        ("pkg.mod.Net.forward", "pkg.mod.Net", "method"),
        ("pkg.mod.load", "pkg.mod.load", "function"),
    ]


def test_docstrings_list_the_parameters_of_the_signature() -> None:
    found = {row.name: row.parameters for row in docstrings("m", SOURCE)}
    assert found["m.Net"] == ("depth", "width", "layers", "options", "size")
    assert found["m.Net.forward"] == ("x",)


@pytest.mark.parametrize("content", [b"def broken(:", b'"""\xff\xfe"""', b"# coding: nonsense\n", b"a = 1\x00"])
def test_unreadable_files_are_skipped_and_counted(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "good.py").write_bytes(b'"""Good: \xc3\xa9."""')
    (tmp_path / "bad.py").write_bytes(content)
    files = [SourceFile(name, str(tmp_path / f"{name}.py")) for name in ("bad", "good")]
    rows, skipped = parse_files(files)
    assert ([row.text for row in rows], skipped) == (["Good: é."], 1)


def test_rows_do_not_depend_on_the_order_of_files(tmp_path: Path) -> None:
    for name in "abcdef":
        (tmp_path / f"{name}.py").write_text(f'"""Module {name}."""\ndef f():\n    "Function in {name}."\n')
    files = [SourceFile(name, str(tmp_path / f"{name}.py")) for name in "abcdef"]
    assert parse_files(files) == parse_files(files[::-1])
