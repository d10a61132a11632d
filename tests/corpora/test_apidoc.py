"""The corpus over synthetic packages: what is read, split, cached, and refused."""

from __future__ import annotations

import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tlbench import DataSource, UserError
from tlbench.corpora import apidoc, distributions, split
from tlbench.corpora.parse import Docstring


def install(folder: Path, name: str, files: dict[str, str]) -> None:
    """Lay out a distribution as pip would."""
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(content)
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "RECORD").write_text("".join(f"{path},,\n" for path in files))


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "site"
    folder.mkdir()
    functions = "\n".join(f'def f{at}(x):\n    """Compute the {at}th thing of all the things here."""\n'
                          for at in range(50))
    install(folder, "docpkg", {
        "docpkg/__init__.py": '"""The package."""\nraise RuntimeError("imported")\n',
        "docpkg/core.py": functions,
        "docpkg/tests/test_core.py": 'def test_f():\n    """Hidden."""\n',
        "docpkg/conftest.py": '"""Hidden."""\n',
    })
    monkeypatch.setattr(sys, "path", [str(folder), *sys.path])
    monkeypatch.setattr(apidoc, "PACKAGES", ("docpkg",))
    return folder


def test_corpus_reads_the_listed_packages_without_importing_them(site: Path, tmp_path: Path) -> None:
    corpus = apidoc.corpus(DataSource(cache=tmp_path / "cache"))
    names = {row.name for row in (*corpus.train, *corpus.test)}
    assert "docpkg" in names
    assert not any("test" in name for name in names)
    assert "docpkg" not in sys.modules
    assert all(split.is_test(row.owner) for row in corpus.test)
    assert not any(split.is_test(row.owner) for row in corpus.train)


def test_corpus_is_parsed_once(site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = DataSource(cache=tmp_path / "cache")
    first = apidoc.provenance(source)
    monkeypatch.setattr(apidoc, "parse_files", lambda files: pytest.fail("parsed again"))
    assert apidoc.provenance(source) == first
    assert first["packages"] == {"docpkg": "1.0"}
    assert apidoc.identity(source) == {"apidoc": first["fingerprint"]}


def test_two_that_want_the_corpus_at_once_parse_it_once(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, parse, calls = DataSource(cache=tmp_path / "cache"), apidoc.parse_files, []

    def slow(files: Any) -> Any:
        calls.append(1)
        time.sleep(0.3)
        return parse(files)

    monkeypatch.setattr(apidoc, "parse_files", slow)
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda _: apidoc.provenance(source), range(2))
    assert first == second
    assert calls == [1]


def test_fingerprint_is_of_the_rows_not_of_the_version(site: Path, tmp_path: Path) -> None:
    source = DataSource(cache=tmp_path / "cache")
    before = apidoc.provenance(source)
    metadata = site / "docpkg-1.0.dist-info/METADATA"
    metadata.write_text(metadata.read_text().replace("Version: 1.0", "Version: 1.1"))
    after = apidoc.provenance(source)
    assert after["packages"] != before["packages"]
    assert after["fingerprint"] == before["fingerprint"]
    with (site / "docpkg/core.py").open("a") as file:
        file.write('def another():\n    """Another thing altogether."""\n')
    with (site / "docpkg-1.0.dist-info/RECORD").open("a") as file:
        file.write("docpkg/extra.py,,\n")
    assert apidoc.provenance(source)["fingerprint"] != before["fingerprint"]


def test_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apidoc, "PACKAGES", ("no-such-package",))
    source = DataSource(cache=tmp_path)
    assert "no-such-package" in (apidoc.unavailable(source) or "")
    with pytest.raises(UserError, match="no-such-package"):
        apidoc.corpus(source)


def test_cache_that_cannot_be_written_is_one_sentence(site: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="TLBENCH_CACHE"):
        apidoc.corpus(DataSource(cache=tmp_path / "file"))


def test_damaged_cache_file_is_named(site: Path, tmp_path: Path) -> None:
    source = DataSource(cache=tmp_path / "cache")
    apidoc.provenance(source)
    path = next((tmp_path / "cache").rglob("*.jsonl.gz"))
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(UserError, match="damaged"):
        apidoc.corpus(source)


def test_distribution_without_its_list_of_files_counts_as_missing(site: Path) -> None:
    (site / "docpkg-1.0.dist-info/RECORD").unlink()
    assert distributions.missing(["docpkg"]) == ["docpkg"]


def sided(test: bool, name: str) -> str:
    """Return an owner on the wanted side."""
    return next(owner for at in range(100) if split.is_test(owner := f"pkg.{name}{at}") is test)


def test_separate_removes_the_training_copy() -> None:
    text = "Compute the mean of all the values along an axis."
    near = f"{text} See the guide."
    rows = [Docstring(owner, owner, "function", (), body) for owner, body in
            [(sided(False, "a"), text), (sided(True, "b"), text), (sided(True, "c"), text.upper()),
             (sided(False, "d"), near), (sided(False, "e"), "Something else that nobody ever tests here.")]]
    kept, removed = split.separate(rows)
    assert [row.name for row in kept] == [sided(True, "b"), sided(False, "e")]
    assert removed == {"exact_duplicates": 2, "near_duplicates_of_test": 1}


def test_members_stay_with_their_class() -> None:
    owner = sided(True, "Net")
    rows = [Docstring(f"{owner}.m{at}", owner, "method", (), f"Method number {at} of the net.") for at in range(9)]
    kept, _ = split.separate(rows)
    assert all(split.is_test(row.owner) for row in kept)


def test_training_texts_lose_passages_of_the_test_side() -> None:
    shared = "This method needs metadata routing to be enabled first."
    train = Docstring("t", "t", "function", (), f"Our own text is here to stay.\n\n{shared}")
    test = Docstring("u", "u", "function", (), f"Quite another text on the other side.\n\n{shared}")
    assert split.without_test_passages([train], [test]) == ["Our own text is here to stay."]


def test_unseen_drops_test_pieces_that_training_knows_in_whole_or_part() -> None:
    shared = "This opening sentence stands on both sides of the split map."
    row = Docstring("t", "t", "function", (), f"{shared} Then it says something of its own that is long enough.")
    pieces = [(shared, "and ends so"), ("A sentence that only the test side has ever seen.", "quite"),
              ("Another one that nobody wrote before today here.", "A passage of the pre-training text alone, seven.")]
    kept = split.unseen(pieces, lambda piece: piece, [row], ["x\n\nA passage of the pre-training text alone, seven."])
    assert kept == [pieces[1]]
