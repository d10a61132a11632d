"""Plugins are found one by one: a faulty one is named, with its file and a way out, and stops nothing else."""

from __future__ import annotations

import itertools
import os
import py_compile
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import tlbench_plugins

from tlbench import UserError, registry
from tlbench.registry import Registry

BUILTIN = {
    name for path in Path(tlbench_plugins.__file__).parent.glob("*.py") if path.name != "embedded_models.py"
    for name in re.findall(r'^    name = "(.+)"$', path.read_text("utf-8"), re.MULTILINE)
}
HOOK = """
from tlbench import collect, hookimpl

@hookimpl
def tlbench_tasks():
    return collect(__path__, __name__).tasks

@hookimpl
def tlbench_strategies():
    return collect(__path__, __name__).strategies
"""
TASK = """
from tlbench import Splits, Task, TextExample

class Colours(Task):
    name = "{name}"
    kind = "{kind}"

    def load(self, source):
        made = [TextExample(str(at), f"text {{at}}", "red" if at % 2 else "blue") for at in range(40)]
        return Splits(made[:30], made[30:])
"""
STRATEGY = """
from dataclasses import dataclass
from tlbench import Strategy

@dataclass(frozen={frozen})
class Still(Strategy):
    {field}
    name = "{name}"

    def prepare(self, setup, offer):
        return setup
"""
Install = Callable[..., str]
_numbers = itertools.count()


def task(name: str = "colours", kind: str = "text-classification") -> str:
    return TASK.format(name=name, kind=kind)


def strategy(name: str = "still", frozen: bool = True, field: str = "") -> str:
    return STRATEGY.format(name=name, frozen=frozen, field=field or "rate: float = 1.0")


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Return a function that installs a package of some modules, as pip would leave it, and returns its name."""
    made = []

    def put(**modules: str) -> str:
        name = f"acme_{next(_numbers)}"
        site = tmp_path / f"site-{name}"
        (site / name).mkdir(parents=True)
        for module, text in {"__init__": HOOK, **modules}.items():
            (site / name / f"{module}.py").write_text(text, encoding="utf-8")
        info = site / f"{name}-2.1.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 2.1\n", encoding="utf-8")
        (info / "entry_points.txt").write_text(f"[tlbench]\nmine = {name}\n", encoding="utf-8")
        monkeypatch.syspath_prepend(site)
        made.append(name)
        return name

    yield put
    for name in [module for module in sys.modules if module.partition(".")[0] in made]:
        del sys.modules[name]


def file(folder: Path, text: str, name: str = "plugin.py") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def fault(name: str) -> str:
    """Load all plugins and return the one fault of the package; the rest is there."""
    found = registry.load()
    assert set(found.strategies) >= BUILTIN
    assert "api-topic" in found.tasks
    (only,) = found.faults
    assert f"plugin {name} 2.1 (entry point 'mine')" in only
    assert "\n" not in only
    with pytest.raises(UserError) as caught:
        registry.load(strict=True)
    assert f"{name} 2.1" in str(caught.value)
    return only


def refused(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        registry.load([path])
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message


def test_builtins_come_through_their_entry_points() -> None:
    found = registry.load(strict=True)
    assert not found.faults
    assert set(found.strategies) == BUILTIN
    assert {found.origin("tasks", name).title.partition(" ")[0] for name in found.tasks} == {"tlbench"}
    assert "entry point 'tlbench-tasks'" in found.origin("tasks", "api-topic").title


def test_installed_package_is_collected(install: Install) -> None:
    name = install(colours=task(), still=strategy())
    found = registry.load(strict=True)
    assert found.task("colours").kind == "text-classification"
    assert found.origin("strategies", "still").title == f"{name} 2.1 (entry point 'mine')"
    assert found.origin("strategies", "still").source is None


@pytest.mark.parametrize(("text", "error"), [
    ("import absent_library_of_acme", "ModuleNotFoundError: No module named 'absent_library_of_acme'"),
    ("raise RuntimeError('two\\nlines')", "RuntimeError: two lines"),
    ("import sys\nsys.exit(3)", "SystemExit: 3"),
    ("def broken(:", "SyntaxError: invalid syntax"),
])
def test_broken_module_is_skipped_and_the_rest_of_its_package_stays(install: Install, text: str, error: str) -> None:
    name = install(colours=task(), broken=text)
    message = fault(name)
    assert f"module {name}.broken is skipped: {error}" in message
    assert "broken.py" in message
    assert "mend or remove that module" in message
    assert "colours" in registry.load().tasks


def test_raising_hook_skips_the_plugin_alone(install: Install) -> None:
    good = install(colours=task())
    bad = install(__init__=HOOK + "\n\n@hookimpl\ndef tlbench_models():\n    raise OSError('no disk')\n",
                  other=task("shapes"))
    message = fault(bad)
    assert "is skipped: OSError: no disk" in message
    assert f"{bad}/__init__.py:15" in message
    found = registry.load()
    assert found.origin("tasks", "colours").title.startswith(good)
    assert "shapes" not in found.tasks


def test_package_that_cannot_be_imported_is_skipped(install: Install) -> None:
    name = install(__init__="import absent_library_of_acme")
    message = fault(name)
    assert "ModuleNotFoundError" in message
    assert f"{name}/__init__.py:1" in message
    assert "mend or remove the plugin" in message


def test_name_clash_keeps_the_first_owner(install: Install) -> None:
    name = install(floor=strategy("floor"), colours=task())
    message = fault(name)
    assert "strategies name 'floor'" in message
    assert "already taken by tlbench 0" in message
    assert "rename one of them" in message
    found = registry.load()
    assert found.origin("strategies", "floor").title.startswith("tlbench")
    assert "colours" not in found.tasks


def test_name_given_twice_in_one_plugin_is_refused(install: Install) -> None:
    message = fault(install(one=task(), two=task()))
    assert "tasks name 'colours'" in message
    assert "taken by the same plugin" in message


@pytest.mark.parametrize(("text", "expected"), [
    ("@hookimpl\ndef tlbench_task():\n    return []", "'tlbench_task' is not a hook of tlbench: did you mean "
                                                      "'tlbench_tasks'?"),
    ("def tlbench_models():\n    return []", "'tlbench_models' is not decorated: put @tlbench.hookimpl above it"),
    ("@hookimpl\ndef tlbench_models():\n    return [3]", "a hook returned 3: return Task classes, Strategy"),
    ("@hookimpl\ndef tlbench_models(wrong):\n    return []", "wrong"),
])
def test_faulty_hooks_are_reported(install: Install, tmp_path: Path, text: str, expected: str) -> None:
    assert expected in fault(install(__init__=f"{HOOK}\n\n{text}\n"))
    assert expected in refused(file(tmp_path, f"from tlbench import hookimpl\n{text}\n"))


@pytest.mark.parametrize(("text", "expected"), [
    (strategy(frozen=False), "strategy 'still' is not a frozen dataclass: put @dataclass(frozen=True) above it"),
    (strategy(field="rate: float"), "give every field of ['rate'] a default"),
    (task(kind="text-clasification"), "kind is 'text-clasification': use one of text-classification"),
])
def test_faulty_classes_are_reported(install: Install, tmp_path: Path, text: str, expected: str) -> None:
    assert expected in fault(install(faulty=text))
    assert expected in refused(file(tmp_path, text))


def test_file_plugin_with_classes_only_needs_no_hook(tmp_path: Path) -> None:
    path = file(tmp_path, task() + strategy())
    found = registry.load([path])
    assert {"colours", *found.tasks} == set(found.tasks)
    assert "still" in found.strategies
    assert found.origin("tasks", "colours").source == found.origin("strategies", "still").source
    assert len(found.origin("tasks", "colours").source or "") == 64


def test_file_plugin_with_hooks_offers_what_they_return(tmp_path: Path) -> None:
    hooks = "from tlbench import hookimpl\n\n@hookimpl\ndef tlbench_tasks():\n    return [Colours()]\n"
    found = registry.load([file(tmp_path, task() + strategy() + hooks)])
    assert "colours" in found.tasks
    assert "still" not in found.strategies


def test_file_plugin_source_follows_its_content(tmp_path: Path) -> None:
    one = registry.load([file(tmp_path, task(), "a.py")]).origin("tasks", "colours").source
    same = registry.load([file(tmp_path, task(), "b.py")]).origin("tasks", "colours").source
    other = registry.load([file(tmp_path, task() + "# changed\n", "a.py")]).origin("tasks", "colours").source
    assert one == same != other


def test_file_plugin_faults_are_errors(tmp_path: Path) -> None:
    assert "cannot be read (No such file or directory): check the path" in refused(tmp_path / "absent.py")
    assert "not a Python file: give a path that ends in .py" in refused(file(tmp_path, task(), "plugin.txt"))
    assert "offers no task, strategy or model" in refused(file(tmp_path, "x = 1\n"))
    assert "ZeroDivisionError" in refused(file(tmp_path, "1 / 0\n"))
    assert "already taken by tlbench" in refused(file(tmp_path, strategy("floor")))


def test_good_file_is_not_blamed_for_a_broken_installed_plugin(install: Install, tmp_path: Path) -> None:
    install(broken="1 / 0")
    found = registry.load([file(tmp_path, task())])
    assert "colours" in found.tasks
    assert len(found.faults) == 1


def test_unknown_name_suggests_the_nearest() -> None:
    found = registry.load()
    with pytest.raises(UserError, match="task 'api-topik' is not known: did you mean 'api-topic'"):
        found.task("api-topik")
    with pytest.raises(UserError, match="strategy 'loar' is not known: did you mean 'lora'"):
        found.strategy("loar")
    with pytest.raises(UserError, match="strategy 'xyzzy' is not known: known: augment, dapt"):
        found.strategy("xyzzy")


def test_task_of_the_caller_may_not_take_a_name(tmp_path: Path) -> None:
    found = registry.load([file(tmp_path, task())])
    with pytest.raises(UserError, match="already taken by file"):
        found.add_task(found.task("colours"), registry.Origin("given by the caller"))
    empty = Registry()
    empty.add_task(found.task("colours"), registry.Origin("given by the caller"))
    assert empty.origin("tasks", "colours").title == "given by the caller"


def test_an_edited_file_is_run_and_not_the_bytecode_of_what_stood_there(tmp_path: Path) -> None:
    path, code = tmp_path / "plugin.py", "value = {}\n"
    path.write_text(code.format(1), encoding="utf-8")
    stand = path.stat()
    py_compile.compile(str(path))
    path.write_text(code.format(2), encoding="utf-8")
    os.utime(path, ns=(stand.st_atime_ns, stand.st_mtime_ns))  # as an edit within the same second
    assert registry.import_file(path).value == 2
