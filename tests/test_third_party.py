"""A stranger's plugin package, really built and installed, found through its entry point and run."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent / "thirdparty"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder into which pip installed the package, without network."""
    folder = tmp_path_factory.mktemp("thirdparty")
    shutil.copytree(PACKAGE, folder / "source", ignore=shutil.ignore_patterns("__pycache__"))
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    done = subprocess.run(
        [*pip, "--no-build-isolation", "--no-deps", "--no-index", "--target", folder / "target", folder / "source"],
        capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder / "target"


def tlbench(installed: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command line in a fresh process that sees the installed package."""
    environment = {**os.environ, "PYTHONPATH": str(installed), "TLBENCH_CACHE": str(folder / "cache"),
                   "HF_HUB_OFFLINE": "1", "COLUMNS": "200"}
    return subprocess.run([sys.executable, "-m", "tlbench", *arguments], cwd=folder, env=environment,
                          capture_output=True, text=True, check=False)


def test_third_party_package_installs_whole(installed: Path) -> None:
    for path in (PACKAGE / "acme_tlbench").glob("*.py"):
        assert (installed / "acme_tlbench" / path.name).read_bytes() == path.read_bytes()
    points = next(installed.glob("acme_tlbench-*.dist-info")) / "entry_points.txt"
    assert "[tlbench]\nacme = acme_tlbench" in points.read_text(encoding="utf-8")


def test_third_party_plugins_keep_the_contract(installed: Path, tmp_path: Path) -> None:
    for name, least in (("acme-tickets", 10), ("nearest-centroid", 7)):
        done = tlbench(installed, tmp_path, "check", name)
        assert done.returncode == 0, done.stdout + done.stderr
        assert f"{least} checks ran, 0 faults" in done.stdout
        assert not done.stderr


def test_third_party_task_and_strategy_run_to_a_board(installed: Path, tmp_path: Path) -> None:
    rows = [json.dumps({"source": f"text {at} of many", "target": f"text {at}"}) for at in range(40)]
    (tmp_path / "short.jsonl").write_text("\n".join(rows), encoding="utf-8")
    command = ("run", "--tasks", "acme-tickets,short", "--data", "short.jsonl", "--strategies",
               "floor,nearest-centroid,nearest-centroid(power=1.0)", "--replicates", "2", "--offline", "--out", "out")
    done = tlbench(installed, tmp_path, *command)
    assert done.returncode == 0, done.stderr
    assert "12 cells run, 0 reused" in done.stderr
    records = [json.loads(path.read_text(encoding="utf-8")) for path in (tmp_path / "out/records").glob("*.json")]
    tickets = [record for record in records if record["task"]["name"] == "acme-tickets"]
    assert (len(records), len(tickets)) == (12, 6)
    assert {record["status"] for record in tickets} == {"ok"}
    assert {record["task"]["licence"] for record in tickets} == {"CC0-1.0"}
    scores: dict[str, list[float]] = {}
    for record in tickets:
        value = record["evaluation"]["metrics"]["macro_f1"]["value"]
        scores.setdefault(record["strategy"]["name"], []).append(value)
    assert min(scores["nearest-centroid"]) > 2 * max(scores["floor"])
    refused = [record for record in records if record["status"] == "unsupported"]
    assert len(refused) == 4
    assert {record["reason"] for record in refused} == {
        "nearest-centroid predicts classes, which text-generation does not have"}
    board = (tmp_path / "out/README.md").read_text(encoding="utf-8")
    assert board.strip() == done.stdout.strip()
    assert "acme-tickets" in board
    assert "nearest-centroid(power=1.0)" in board
    shown = json.loads((tmp_path / "out/board.json").read_text(encoding="utf-8"))["rows"]
    assert {row["strategy"] for row in shown} == set(scores)
