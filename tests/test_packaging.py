"""Wheel and sdist hold the whole tree, and what is installed from them runs without the tree."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAPPED = {"tlbench": "tlbench", "plugins": "tlbench_plugins", "tasks": "tlbench_tasks"}
"""Folder in the tree to package name."""
SOURCES = ("pyproject.toml", "README.md", "LICENSE", "MANIFEST.in", *MAPPED, "tests")
_BUILD = "import sys; from setuptools import build_meta; getattr(build_meta, 'build_' + sys.argv[1])(sys.argv[2])"


def copy_tree(target: Path) -> Path:
    """Copy what a clean checkout holds, so that no build folder is left in the tree."""
    target.mkdir()
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, target / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        elif (ROOT / name).is_file():
            shutil.copy(ROOT / name, target / name)
    model = target / "plugins" / "models" / "toy-model"
    model.mkdir(parents=True)
    (model / "config.json").write_text("{}", encoding="utf-8")
    return target


def build(tree: Path, what: str, target: Path) -> Path:
    """Call the build backend as `pip` and `python -m build --no-isolation` do; return the file it made."""
    target.mkdir()
    done = subprocess.run([sys.executable, "-c", _BUILD, what, str(target)], cwd=tree,
                          capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    (made,) = target.iterdir()
    return made


def content(wheel: Path) -> dict[str, str]:
    """Return file name to content hash, without the wheel's own metadata."""
    with zipfile.ZipFile(wheel) as archive:
        return {name: hashlib.sha256(archive.read(name)).hexdigest() for name in archive.namelist()
                if ".dist-info/" not in name}


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_tree(tmp_path_factory.mktemp("packaging") / "tree")


@pytest.fixture(scope="module")
def sdist(tree: Path) -> Path:
    return build(tree, "sdist", tree.parent / "sdist")


@pytest.fixture(scope="module")
def wheel(tree: Path) -> Path:
    return build(tree, "wheel", tree.parent / "wheel")


def expected(tree: Path) -> dict[str, str]:
    """Return what the wheel has to hold: every module and every packaged file of the tree."""
    return {
        f"{package}/{path.relative_to(tree / folder).as_posix()}": hashlib.sha256(path.read_bytes()).hexdigest()
        for folder, package in MAPPED.items()
        for path in sorted((tree / folder).rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_wheel_holds_every_file_of_the_packages_and_no_other(tree: Path, wheel: Path) -> None:
    held, wanted = content(wheel), expected(tree)
    assert sorted(set(wanted) - set(held)) == []
    assert sorted(set(held) - set(wanted)) == []
    assert held == wanted
    assert "tlbench_plugins/models/toy-model/config.json" in held


def test_sdist_holds_every_file_of_the_packages_and_no_test(tree: Path, sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {path.relative_to(tree).as_posix() for folder in MAPPED for path in (tree / folder).rglob("*")
              if path.is_file() and "__pycache__" not in path.parts}
    assert sorted(wanted - held) == []
    assert {"pyproject.toml", "README.md", "LICENSE"} <= held
    assert not [name for name in held if name.startswith("tests")]


def test_sdist_builds_the_same_wheel(sdist: Path, wheel: Path, tmp_path: Path) -> None:
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    (source,) = tmp_path.iterdir()
    again = build(source, "wheel", tmp_path / "wheel")
    assert again.name == wheel.name
    assert content(again) == content(wheel)


def test_installed_wheel_runs_without_the_tree(wheel: Path, tmp_path: Path) -> None:
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-deps", "--no-index"]
    done = subprocess.run([*pip, "--target", tmp_path / "installed", wheel],
                          capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    code = (
        "import sys, tlbench.cli as cli\n"
        "sys.argv[1:] = ['list', 'tasks']\n"
        "cli.main()\n"
        "found = {name: sys.modules[name].__file__ for name in ('tlbench', 'tlbench_tasks', 'tlbench_plugins')}\n"
        "print(*found.values(), sep='\\n', file=sys.stderr)\n"
        "from tlbench import registry\n"
        "made = registry.load(strict=True)\n"
        "print({type(task).__module__.partition('.')[0] for task in made.tasks.values()}, file=sys.stderr)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "installed"), "COLUMNS": "200"}
    listed = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment,
                            capture_output=True, text=True, check=False)
    assert listed.returncode == 0, listed.stderr
    assert "api-topic" in listed.stdout
    *paths, modules = listed.stderr.strip().splitlines()
    assert len(paths) == 3
    assert all(path.startswith(str(tmp_path / "installed")) for path in paths)
    assert modules == "{'tlbench_tasks'}"


def test_tests_load_no_second_copy_of_tasks_and_plugins() -> None:
    loaded = dict(sys.modules)
    assert not {"tasks", "plugins"} & {name.partition(".")[0] for name in loaded}
    for name, module in loaded.items():
        path = Path(getattr(module, "__file__", None) or "/")
        for folder in ("tasks", "plugins"):
            if (ROOT / folder) in path.parents:
                assert name.partition(".")[0] == MAPPED[folder]
