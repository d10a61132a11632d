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


@pytest.mark.parametrize(
    "name",
    ["README.md", *(f"docs/{page}.md" for page in ("plugins", "protocol", "record", "design")), "results/README.md"],
)
def test_documents_link_only_to_files_that_exist(name: str) -> None:
    page = ROOT / name
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), f"{name} links to {target}"
