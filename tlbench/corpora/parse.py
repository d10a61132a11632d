"""Docstrings of Python files, read with `ast`: no module is imported, no line is executed.

Runs in worker processes of its own (`python -c`, files as JSON on standard input), because building syntax
trees holds the interpreter lock; the workers import neither torch nor the user's script.
"""

from __future__ import annotations

import ast
import gc
import json
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Literal

from tlbench.errors import UserError

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
Kind = Literal["module", "class", "function", "method"]
MAX_WORKERS = 8
_WORKER = "from tlbench.corpora.parse import _work; _work()"


@dataclass(frozen=True, slots=True)
class Docstring:
    """One docstring, with what its file says about the documented object.

    Attributes:
        name: Dotted path of the object, e.g. `torch.nn.modules.linear.Linear.forward`.
        owner: Dotted path of the top-level object it belongs to; the unit of the split map.
        kind: What is documented.
        parameters: Names in the signature (of a class: of its `__init__`, then its annotated fields).
        text: The docstring, dedented.
    """

    name: str
    owner: str
    kind: Kind
    parameters: tuple[str, ...]
    text: str


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file to parse and the module it defines."""

    module: str
    path: str


def parse_files(files: Sequence[SourceFile]) -> tuple[list[Docstring], int]:
    """Return the docstrings of all files, sorted by name, and how many files could not be read.

    Raises:
        UserError: a worker process died.
    """
    ordered = sorted(files, key=lambda file: (-Path(file.path).stat().st_size, file.path))
    count = max(1, min(MAX_WORKERS, os.cpu_count() or 1, len(ordered)))
    workers = [_start(ordered[index::count]) for index in range(count)]
    rows: list[Docstring] = []
    skipped = 0
    for worker in workers:
        answer, _ = worker.communicate()
        if worker.returncode:
            raise UserError(f"a process that reads documentation ended with status {worker.returncode}: "
                            "run the command again, with more free memory if it was killed")
        parsed = json.loads(answer)
        rows += [Docstring(**{**row, "parameters": tuple(row["parameters"])}) for row in parsed["rows"]]
        skipped += parsed["skipped"]
    return sorted(rows, key=lambda row: (row.name, row.text)), skipped


def docstrings(module: str, source: bytes) -> list[Docstring]:
    """Return the docstrings of one file.

    Raises:
        SyntaxError, ValueError: the file is not Python of this version, or not decodable.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # invalid escapes in other people's files
        tree = ast.parse(source)
    rows = [Docstring(module, module, "module", (), text)] if (text := ast.get_docstring(tree)) else []
    for node in _definitions(tree.body):
        rows += _describe(node, f"{module}.{node.name}", f"{module}.{node.name}")
    return rows


def _describe(node: Definition, name: str, owner: str) -> list[Docstring]:
    """Return the docstring of a definition and, for a class, of its members."""
    rows = []
    if text := ast.get_docstring(node):
        kind: Kind = "class" if isinstance(node, ast.ClassDef) else "function" if name == owner else "method"
        rows.append(Docstring(name, owner, kind, _parameters(node), text))
    if isinstance(node, ast.ClassDef):
        for member in _definitions(node.body):
            rows += _describe(member, f"{name}.{member.name}", owner)
    return rows


def _definitions(body: Sequence[ast.stmt]) -> Iterator[Definition]:
    """Yield functions and classes, also those behind `if` and `try`; never those inside functions."""
    for node in body:
        if isinstance(node, Definition):
            yield node
        elif isinstance(node, ast.If):
            yield from _definitions([*node.body, *node.orelse])
        elif isinstance(node, ast.Try):
            handlers = chain.from_iterable(handler.body for handler in node.handlers)
            yield from _definitions([*node.body, *handlers, *node.orelse, *node.finalbody])


def _parameters(node: Definition) -> tuple[str, ...]:
    if isinstance(node, ast.ClassDef):
        inits = [member for member in _definitions(node.body)
                 if not isinstance(member, ast.ClassDef) and member.name == "__init__"]
        fields = [item.target.id for item in node.body
                  if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name)]
        return tuple(dict.fromkeys([*(_parameters(inits[0]) if inits else ()), *fields]))
    spec = node.args
    named = [*spec.posonlyargs, *spec.args, *spec.kwonlyargs, spec.vararg, spec.kwarg]
    return tuple(item.arg for item in named if item is not None and item.arg not in ("self", "cls"))


def _start(files: Sequence[SourceFile]) -> subprocess.Popen[bytes]:
    """Start a worker on these files."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)}
    worker = subprocess.Popen([sys.executable, "-c", _WORKER], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                              env=environment)
    assert worker.stdin is not None
    worker.stdin.write(json.dumps([asdict(file) for file in files]).encode())
    worker.stdin.close()
    worker.stdin = None  # so that `communicate` does not flush it again
    return worker


def _work() -> None:
    """Parse the files named on standard input and print their docstrings as JSON."""
    gc.disable()  # syntax trees have no cycles; collecting them costs two thirds of the time
    rows: list[Docstring] = []
    skipped = 0
    for file in json.load(sys.stdin):
        try:
            rows += docstrings(file["module"], Path(file["path"]).read_bytes())
        except (SyntaxError, ValueError, OSError, RecursionError):
            skipped += 1
    # Escaped to ASCII, which also carries lone surrogates that a docstring may spell out.
    print(json.dumps({"rows": [asdict(row) for row in rows], "skipped": skipped}))
