"""Imports point one way, plugins use the public door, and quick commands stay quick. Read from the source, as data."""

from __future__ import annotations

import ast
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import tlbench

ROOT = Path(__file__).parents[1]

LAYERS: dict[str, int] = {
    # contracts and values
    "tlbench": 0, "errors": 0, "canonical": 0, "task": 0, "setups": 0, "strategy": 0, "template": 0, "hookspecs": 0,
    "holdout": 0, "declarations": 0, "files": 0, "words": 0, "iob2": 0,
    "peft_methods": 0,
    "learned": 1,
    "model": 1, "sources": 1, "hub": 1, "grid": 1, "toys": 1, "recipes": 1, "tables": 1, "columns": 1, "corpora": 1,
    # kinds and what is computed from their examples without a model
    "kinds": 2, "transforms": 2, "noise": 2, "transferability": 2,
    "data": 3, "records": 3, "attempts": 3, "stats": 3, "verdicts": 3, "registry": 3,
    "datafile": 3, "specs": 4, "references": 4, "offers": 4,
    "gridfile": 5, "planning": 5, "boards": 5, "listing": 5, "published": 5, "checks": 5,
    "display": 5,
    # what trains
    "stages": 6, "engine": 7,
    # what orders, runs and is called
    "cells": 8, "timing": 9, "workshop": 9, "runner": 9, "executors": 10, "estimate": 11, "api": 11, "pretraining": 11,
    "cli": 12, "__main__": 13,
}
"""Module or subpackage of tlbench to its layer; imports go to the same layer or down."""

UPWARD = {
    ("registry", "kinds"), ("tlbench", "api"),
}
"""Exceptions: (importer, imported). the package names its API."""

TORCH = ("torch", "transformers", "accelerate", "peft", "safetensors", "sentence_transformers")
TORCH_AT_TOP = {"engine", "stages", "timing"}
TORCH_INSIDE = {*TORCH_AT_TOP, "workshop", "api", "executors", "pretraining", "peft_methods"}
STDLIB = frozenset(sys.stdlib_module_names)


@dataclass(frozen=True)
class Import:
    """One import statement's target.

    Attributes:
        module: Dotted name, relative ones resolved.
        line: Where it stands.
        inside: Whether it runs only when a function is called.
        typing: Whether it is for type checkers alone.
    """

    module: str
    line: int
    inside: bool
    typing: bool


def imports_of(path: Path, package: str) -> list[Import]:
    """Return every import of a module that lies in `package`; `from a import b` gives `a.b`."""
    return list(_walk(ast.parse(path.read_text(encoding="utf-8")), package, False, False))


def _walk(node: ast.AST, package: str, inside: bool, typing: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (Import(name.name, child.lineno, inside, typing) for name in child.names)
        elif isinstance(child, ast.ImportFrom):
            base = child.module or ""
            if child.level:
                parents = package.split(".")[: len(package.split(".")) - child.level + 1]
                base = ".".join([*parents, *([base] if base else [])])
            yield from (Import(f"{base}.{name.name}", child.lineno, inside, typing) for name in child.names)
        else:
            function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            checking = isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"
            yield from _walk(child, package, inside or function, typing or checking)


def modules(folder: str, package: str) -> list[tuple[Path, str]]:
    """Return each module of a folder with the package that it lies in."""
    return [(path, ".".join([package, *path.relative_to(ROOT / folder).parts[:-1]]))
            for path in sorted((ROOT / folder).rglob("*.py"))]


def unit(module: str) -> str:
    """Return the part of tlbench that a dotted name belongs to: `tlbench.boards.rows` to `boards`."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and (parts[1] in LAYERS or not hasattr(tlbench, parts[1])) else "tlbench"


def unit_of(path: Path) -> str:
    """Return the part of tlbench that a file belongs to."""
    first = path.relative_to(ROOT / "tlbench").parts[0].removesuffix(".py")
    return "tlbench" if first == "__init__" else first


def core() -> list[tuple[str, Path, Import]]:
    return [(unit_of(path), path, each) for path, package in modules("tlbench", "tlbench")
            for each in imports_of(path, package)]


def plugin_imports() -> list[tuple[Path, str, Import]]:
    return [(path, package, each) for folder, package in (("tasks", "tlbench_tasks"), ("plugins", "tlbench_plugins"))
            for path, inner in modules(folder, package) for each in imports_of(path, inner)]


def test_every_module_has_a_layer() -> None:
    units = {unit_of(path) for path, _ in modules("tlbench", "tlbench")}
    assert sorted(units - set(LAYERS)) == [], "give the new module a layer in LAYERS"
    assert sorted(set(LAYERS) - units) == [], "LAYERS names a module that is gone"


def test_imports_point_one_way() -> None:
    seen = core()
    assert len(seen) > 300
    wrong = [
        f"{path.relative_to(ROOT)}:{each.line}: {importer} (layer {LAYERS[importer]}) imports {unit(each.module)} "
        f"(layer {LAYERS.get(unit(each.module))})"
        for importer, path, each in seen
        if each.module.split(".")[0] == "tlbench" and not each.typing
        and LAYERS.get(unit(each.module), 99) > LAYERS[importer]
        and (importer, unit(each.module)) not in UPWARD
    ]
    assert wrong == []


def test_core_names_no_builtin_plugin() -> None:
    wrong = [f"{path.name}:{each.line}: {each.module}" for _, path, each in core()
             if each.module.split(".")[0] in ("tlbench_tasks", "tlbench_plugins", "tasks", "plugins")]
    assert wrong == []


def test_torch_is_imported_by_engine_and_stages_only() -> None:
    wrong = []
    found = 0
    for importer, path, each in core():
        if each.typing or each.module.split(".")[0] not in TORCH:
            continue
        found += 1
        if importer not in (TORCH_INSIDE if each.inside else TORCH_AT_TOP):
            wrong.append(f"{path.relative_to(ROOT)}:{each.line}: {each.module}")
    assert found > 10
    assert wrong == []


def test_plugins_import_public_names_and_standard_library_at_the_top() -> None:
    """Modules of a subpackage are out of `collect`'s reach: they may import libraries and each other, but not torch."""
    public = {f"tlbench.{name}" for name in tlbench.__all__} | {"tlbench.corpora"}
    wrong = []
    for path, package, each in plugin_imports():
        first = each.module.split(".")[0]
        below = len(path.relative_to(ROOT).parts) > 2 and path.name != "__init__.py"
        if first == "tlbench":
            fine = each.module in public or each.module.startswith(("tlbench.iob2.", "tlbench.words."))
        elif first == package:
            beside = below and each.module.startswith(f"{package}.")
            fine = each.inside or each.typing or beside
        else:
            fine = each.inside or each.typing or first in STDLIB or (below and first not in TORCH)
        if not fine:
            wrong.append(f"{path.relative_to(ROOT)}:{each.line}: {each.module}")
    assert wrong == []


def test_plugins_do_not_import_each_other() -> None:
    wrong = []
    for path, package, each in plugin_imports():
        if each.module.split(".")[0] in ("tlbench_tasks", "tlbench_plugins") and "learners" not in each.module:
            wrong.append(f"{path.relative_to(ROOT)}:{each.line}: {each.module} ({package})")
    assert wrong == []


def test_public_names_exist_and_are_listed_once() -> None:
    assert len(tlbench.__all__) == len(set(tlbench.__all__))
    for name in tlbench.__all__:
        assert getattr(tlbench, name) is not None


_HEAVY = """
import sys
from tlbench.cli import main
sys.argv[1:] = {arguments!r}
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
heavy = [name for name in {heavy!r} if name in sys.modules]
assert not heavy, heavy
"""


@pytest.mark.parametrize("arguments", [
    ["--help"], ["run", "--help"], ["pretrain", "--help"],
    ["list", "tasks"], ["list", "strategies", "--matrix"], ["list", "models"],
    ["check", "lora"],
])
def test_quick_command_never_imports_torch(arguments: list[str]) -> None:
    names = ["numpy"] if arguments[0] in ("--help", "list") else []
    code = _HEAVY.format(arguments=arguments, heavy=[*TORCH, "datasets", "sklearn", "pandas", *names])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_board_never_imports_torch(finished_run: Path) -> None:
    for arguments in (["board", str(finished_run)], ["verify", str(finished_run)], ["board", str(finished_run),
                      "--format", "json"]):
        code = _HEAVY.format(arguments=arguments, heavy=[*TORCH, "datasets", "sklearn"])
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def test_importing_the_command_line_imports_no_heavy_library() -> None:
    done = subprocess.run([sys.executable, "-X", "importtime", "-c", "import tlbench.cli"],
                          capture_output=True, text=True, check=True)
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert "tlbench" in imported
    assert not imported & {*TORCH, "datasets", "sklearn", "pandas", "pyarrow", "scipy", "numpy", "pydantic"}


def cpu_seconds(arguments: list[str], repeats: int = 5) -> float:
    """Return the least user and system time of several runs: the machine's other work does not count."""
    times = []
    for _ in range(repeats):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-m", "tlbench", *arguments], check=True, capture_output=True,
                       env={**os.environ, "OMP_NUM_THREADS": "1"})
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(times)


@pytest.mark.parametrize("arguments", [["--help"], ["list", "tasks"]])
def test_quick_command_is_quick(arguments: list[str]) -> None:
    seconds = cpu_seconds(arguments)
    print(f"tlbench {' '.join(arguments)}: {seconds:.2f} s CPU (aim: 0.4)")
    assert seconds < 0.8
