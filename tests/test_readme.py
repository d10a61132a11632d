"""What the README prints must run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from tlbench.cli import cli

ROOT = Path(__file__).resolve().parent.parent


def test_readme_first_task_runs_as_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TLBENCH_CACHE", str(tmp_path / "cache"))
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    code = re.search(r"```python\n# my_task.py\n(.*?)```", readme, re.DOTALL)
    assert code, "the README no longer shows my_task.py"
    plugin = tmp_path / "my_task.py"
    plugin.write_text(code[1], encoding="utf-8")
    out = tmp_path / "run"
    result = CliRunner().invoke(
        cli,
        ["run", "--plugin", str(plugin), "--tasks", "parity", "--strategies", "floor,linear", "--out", str(out)],
        catch_exceptions=False,
    )
    assert result.exit_code == 0
    assert "parity" in (out / "README.md").read_text(encoding="utf-8")
    assert len(list((out / "records").glob("*.json"))) == 6


def test_readme_grid_file_runs_as_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TLBENCH_CACHE", str(tmp_path / "cache"))
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    file = re.search(r"```toml\n(# (\S+\.toml): .*?)```", readme, re.DOTALL)
    assert file, "the README no longer shows a grid file"
    command = re.search(rf"\$ tlbench (run --grid {file[2]}.*?) +#", readme)
    assert command, "the README no longer runs its grid file"
    (tmp_path / file[2]).write_text(file[1], encoding="utf-8")
    rows = [f"text number {at} is {'fine' if at % 2 else 'dull'},{1 + at % 5}" for at in range(200)]
    (tmp_path / "reviews.csv").write_text("\n".join(["text,stars", *rows, ""]), encoding="utf-8")
    result = CliRunner().invoke(cli, command[1].split(), catch_exceptions=False)
    assert result.exit_code == 0
    assert len(list((tmp_path / "tlbench-run" / "records").glob("*.json"))) == 2 * 3 * 5


def test_readme_pretraining_runs_as_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All but the budget as printed: 1 M tokens take minutes."""
    monkeypatch.setenv("TLBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(ROOT)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    printed = re.search(r"^\$ tlbench (pretrain --text .*) --tokens 1000000 --out my-model$",
                        readme.replace(" \\\n", ""), re.MULTILINE)
    assert printed, "the README no longer shows how to pre-train"
    out = tmp_path / "my-model"
    result = CliRunner().invoke(
        cli, [*printed[1].split(), "--tokens", "10000", "--out", str(out)], catch_exceptions=False)
    assert result.exit_code == 0
    assert (out / "model.safetensors").is_file()


_ROOMS = ("", "docs", "results", "benchmarks")
PAGES = [page for room in _ROOMS for page in sorted((ROOT / room).glob("*.md"))]


def anchors(page: Path) -> set[str]:
    """Return the names that GitHub gives to a page's headings."""
    prose = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", prose, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links(page: Path) -> list[tuple[Path, str]]:
    """Return the files and the headings in them that a page links to."""
    found = re.findall(r"\]\(([^)#\s]*)(?:#([^)\s]*))?\)", page.read_text(encoding="utf-8"))
    return [(page.parent / target if target else page, heading) for target, heading in found
            if not target.startswith("http")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_documents_link_only_to_what_exists(page: Path) -> None:
    for target, heading in links(page):
        assert target.exists(), f"{page.name} links to {target}"
        assert not heading or heading in anchors(target), f"{page.name} links to {target.name}#{heading}"


def test_readme_links_to_files_and_to_headings() -> None:
    found = links(ROOT / "README.md")
    assert len(found) > 5
    assert any(heading for _, heading in found)
