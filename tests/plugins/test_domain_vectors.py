"""Vectors of a domain: computed once over cells, workers and runs, charged to each, and drawn anew where asked."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tlbench_plugins.learners import vectors
from tlbench_plugins.learners.vectors import Reader, Training, Vectors
from tlbench_plugins.word2vec import Word2VecDomain

from tlbench import Offer, Setup, UserError, api, cells
from tlbench.canonical import plain, settings
from tlbench.corpora import documents
from tlbench.estimate import Estimate, estimate
from tlbench.learned import Used
from tlbench.offers import Corpora
from tlbench.planning import Request
from tlbench.records import Outcome, Record, Store
from tlbench.setups import Learner
from tlbench.sources import DataSource
from tlbench.toys import ToyStages
from tlbench.workshop import PluginSpec, open_registry

pytest.importorskip("gensim")
SCRIPT = Path(__file__).with_name("vectors_script.py")
RECORDS = Path(__file__).parents[2] / "results" / "strategies" / "records"
CORPUS = tuple(f"the {'cat' if i % 2 else 'dog'} of house {i % 7} eats and sleeps" for i in range(60))
SECONDS = 0.004
Run = Callable[..., list[Record]]


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[Training]:
    """Return the trainings that took place, in order; each takes 4 ms, and nothing else takes time."""
    done: list[Training] = []
    train = Vectors.trained

    def counted(texts: Sequence[str], training: Training) -> Vectors:
        done.append(training)
        return train(texts, training)

    monkeypatch.setattr(Vectors, "trained", counted)
    monkeypatch.setattr(vectors, "time", SimpleNamespace(perf_counter=lambda: SECONDS * len(done)))
    return done


@pytest.fixture
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PluginSpec:
    """Return two data tasks of a domain whose text is known."""
    def offered(self: Any, name: str) -> Mapping[str, Any]:
        return {"apidoc": "abc"}

    monkeypatch.setattr(documents, "texts_of_corpus", lambda name, source: CORPUS)
    monkeypatch.setattr(Corpora, "__getitem__", offered)
    monkeypatch.setattr(Corpora, "__iter__", lambda self: iter(("embedded",)))
    monkeypatch.setattr(Corpora, "__len__", lambda self: 1)
    for name in ("t", "u"):
        rows = "".join(f"{name} here is a {'cat' if i % 2 else 'dog'} {i},{i % 2}\n" for i in range(200))
        (tmp_path / f"{name}.csv").write_text("text,label\n" + rows, encoding="utf-8")
    return PluginSpec(data=({"path": tmp_path / "t.csv"}, {"path": tmp_path / "u.csv"}))


@pytest.fixture
def source(tmp_path: Path) -> DataSource:
    """Return a data source whose cache is empty."""
    return DataSource(cache=tmp_path / "cache", offline=True)


@pytest.fixture
def run(tmp_path: Path, plugins: PluginSpec, source: DataSource) -> Run:
    """Return a function from a folder, strategies and tasks to the records of two replicates, in order."""
    def records(folder: str, *strategies: str, tasks: Sequence[str] = ("t",)) -> list[Record]:
        request = Request(tuple(tasks), strategies, budgets=(50,), replicates=2)
        registry = open_registry(plugins)
        api.execute(request, api.Options(tmp_path / folder), source, plugins, registry=registry)
        found = sorted(Store(tmp_path / folder).load(), key=lambda r: (r.task["name"], r.strategy["name"], r.replicate))
        assert [record.status for record in found] == ["ok"] * len(found), [record.reason for record in found]
        return found

    return records


def stages(records: Sequence[Record]) -> list[Mapping[str, Any]]:
    return [record.training["upstream"][0] for record in records]


def test_cells_of_all_tasks_and_of_later_runs_share_one_training(run: Run, trained: list[Training]) -> None:
    found = stages(run("one", "word2vec-domain(width=8)", tasks=("t", "u")))
    assert len(trained) == 1
    found += stages(run("two", "word2vec-domain(width=8)"))
    assert len(trained) == 1  # nothing is kept in the process, so another one would find the same
    assert len({one["stage"] for one in found}) == 1
    assert sorted(one["spent"] for one in found) == [0.0] * 5 + [SECONDS]
    assert [one["seconds"] for one in found] == [SECONDS] * 6
    assert {(one["shared"], one["labels"]) for one in found} == {(True, 0)}


def test_a_cell_is_charged_and_its_text_counted(run: Run, trained: list[Training]) -> None:
    own, own_too, domain, after = run("run", "word2vec(width=8)", "word2vec-domain(width=8)")
    assert [training.seed for training in trained] == [1, 1, 1]  # two of them on the texts of a cell
    assert own.budget["unlabeled"] == own_too.budget["unlabeled"] == 0
    assert domain.budget["unlabeled"] == after.budget["unlabeled"] == len(set(CORPUS))
    assert (own.strategy["transfers"], domain.strategy["transfers"]) == (False, True)
    assert domain.strategy["external_data"] == "unlabeled"
    assert "upstream" not in own.training
    assert "upstream" not in own.cost["seconds"]
    assert [one["spent"] for one in stages([domain, after])] == [SECONDS, 0]
    assert domain.cost["seconds"]["upstream"] == pytest.approx(SECONDS)
    assert after.cost["seconds"]["upstream"] == 0


def test_only_vectors_of_a_corpus_are_kept(run: Run, source: DataSource) -> None:
    run("run", "word2vec(width=8)")
    assert not (source.cache / "stages" / "learners").exists()
    run("more", "word2vec-domain(width=8)")
    folders = [path for path in (source.cache / "stages" / "learners").iterdir() if path.is_dir()]
    assert [sorted(file.name for file in folder.iterdir()) for folder in folders] == [
        ["rows.npy", "seconds.npy", "words.npy"]]


def test_redrawn_vectors_differ_but_for_the_first_replicate(run: Run, trained: list[Training]) -> None:
    found = stages(run("run", "word2vec-domain(width=8)", "word2vec-domain(width=8,redraw=True)", tasks=("t", "u")))
    assert sorted(training.seed for training in trained) == [1, 2]  # the second replicate's serve both tasks
    first, second, again, other = (found[at]["stage"] for at in range(4))
    assert first == second == again != other
    assert [one["stage"] for one in found[4:]] == [first, second, again, other]
    assert [one["shared"] for one in found] == [True, True, False, False] * 2
    assert sorted(one["spent"] for one in found) == [0.0] * 6 + [SECONDS] * 2


@pytest.mark.parametrize("draw", [0, 1])
def test_kept_vectors_are_those_that_training_gives(draw: int) -> None:
    learner = SimpleNamespace(fit=lambda train, validation: {})
    training = Training(8, 5, 1, 2, seed=1)
    for toy in [ToyStages(draw)] * 2:
        reader = Reader(learner, training)
        reader.read(CORPUS)
        reader.keep_in(toy)
        reader.fit([], [])
        right, wrong = (Vectors.trained(CORPUS, Training(8, 5, 1, 2, seed)) for seed in (1 + draw, 2 - draw))
        assert list(learner.vectors.rows) == list(right.rows)
        assert all(np.array_equal(learner.vectors.rows[word], right.rows[word]) for word in right.rows)
        assert not np.array_equal(learner.vectors.rows["cat"], wrong.rows["cat"])


@pytest.mark.parametrize("other", [
    (("another text", *CORPUS), Training(8, 5, 1, 2, 1)),
    (tuple(reversed(CORPUS)), Training(8, 5, 1, 2, 1)),
    ((CORPUS[0] + CORPUS[1], "", *CORPUS[2:]), Training(8, 5, 1, 2, 1)),
    (CORPUS, Training(8, 5, 1, 3, 1)),
    (CORPUS, Training(8, 5, 1, 2, 2)),
], ids=["text", "order", "borders", "epochs", "seed"])
def test_vectors_of_another_text_or_setting_are_others(other: tuple[tuple[str, ...], Training]) -> None:
    toy = ToyStages()
    for corpus, training in [(CORPUS, Training(8, 5, 1, 2, 1)), other, other]:
        reader = Reader(SimpleNamespace(fit=lambda train, validation: {}), training)
        reader.read(corpus)
        reader.keep_in(toy)
        reader.fit([], [])
    assert len(toy.kept) == 2


def test_vectors_of_another_version_of_gensim_are_others(monkeypatch: pytest.MonkeyPatch) -> None:
    toy = ToyStages()
    for version in ("1.0", "1.1"):
        monkeypatch.setattr(vectors.metadata, "version", lambda name, now=version: now if name == "gensim" else "2")
        reader = Reader(SimpleNamespace(fit=lambda train, validation: {}), Training(8, 5, 1, 2, 1))
        reader.read(CORPUS)
        reader.keep_in(toy)
        reader.fit([], [])
    assert len(toy.kept) == 2


def test_another_version_of_the_strategy_finds_none_of_its_vectors(
    run: Run, trained: list[Training], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = stages(run("one", "word2vec-domain(width=8)"))
    monkeypatch.setattr(Word2VecDomain, "version", Word2VecDomain.version + 1)
    later = stages(run("two", "word2vec-domain(width=8)"))
    assert len(trained) == 2
    assert first[0]["stage"] != later[0]["stage"]


@pytest.mark.parametrize("harm", ["cut short", "no array"])
def test_damaged_vectors_are_trained_again(harm: str, run: Run, trained: list[Training], source: DataSource) -> None:
    run("one", "word2vec-domain(width=8)")
    (file,) = (source.cache / "stages" / "learners").glob("*/rows.npy")
    file.write_bytes(file.read_bytes()[:200] if harm == "cut short" else b"rows")
    found = stages(run("two", "word2vec-domain(width=8)"))
    assert len(trained) == 2
    assert sorted(one["spent"] for one in found) == [0.0, SECONDS]


@pytest.mark.parametrize("array", ["rows", "words", "seconds"])
def test_foreign_arrays_are_no_vectors(array: str) -> None:
    toy, learner = ToyStages(), SimpleNamespace(fit=lambda train, validation: {})
    reader = Reader(learner, Training(8, 5, 1, 2, 1))
    reader.read(CORPUS)
    reader.keep_in(toy)
    reader.fit([], [])
    (kept,) = toy.kept
    toy.kept[kept] = {**toy.kept[kept], array: np.zeros((len(learner.vectors.rows), 7), np.float32)}
    with pytest.raises(UserError, match=r"the word vectors in the cache are damaged: delete its folder 'stages/learn"):
        reader.fit([], [])
    toy.kept[kept] = {name: value for name, value in toy.kept[kept].items() if name != array}
    with pytest.raises(UserError, match="are damaged"):
        reader.fit([], [])


def started(folder: Path, name: str, others: str = "", seconds: float = 0.0) -> subprocess.Popen[str]:
    call = [sys.executable, str(SCRIPT), str(folder), name, others, str(seconds)]
    return subprocess.Popen(call, stderr=subprocess.PIPE, text=True)


def ended(process: subprocess.Popen[str], folder: Path, name: str) -> Mapping[str, Any]:
    _, said = process.communicate(timeout=120)
    assert process.returncode == 0, said
    found: Mapping[str, Any] = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    return found


def test_two_processes_at_once_train_once_and_a_later_one_not_at_all(tmp_path: Path) -> None:
    both = {name: started(tmp_path, name, "a b", seconds=1.0) for name in ("a", "b")}
    waited, made = sorted((ended(both[name], tmp_path, name) for name in both), key=lambda found: found["trained"])
    assert (waited["trained"], made["trained"]) == (0, 1)
    assert made["spent"] == made["seconds"] == waited["seconds"] >= 1.0
    assert 0.5 < waited["spent"] <= waited["seconds"]  # it stood at the lock meanwhile
    later = ended(started(tmp_path, "c"), tmp_path, "c")
    assert later["trained"] == 0
    assert later["spent"] < 0.5
    assert later["seconds"] == made["seconds"]
    assert later["content"] == made["content"] == waited["content"]


def test_a_killed_training_leaves_nothing_and_blocks_nobody(tmp_path: Path) -> None:
    killed = started(tmp_path, "a", seconds=600.0)
    while not (tmp_path / "a.training").exists():
        assert killed.poll() is None
        time.sleep(0.01)
    killed.kill()
    killed.communicate(timeout=60)
    assert ended(started(tmp_path, "b"), tmp_path, "b")["trained"] == 1
    assert ended(started(tmp_path, "c"), tmp_path, "c")["trained"] == 0


def test_published_cells_keep_their_setup_and_settings() -> None:
    known = [json.loads(file.read_text(encoding="utf-8"))["cell"] for file in sorted(RECORDS.glob("*.json"))]
    published = [cell["condition"] for cell in known if cell["condition"]["strategy"]["name"] == "word2vec-domain"]
    assert len(published) == 15
    for condition in published:
        learner = condition["setup"]["learner"]
        offer = Offer(condition["task"]["kind"], "t", None, 50,
                      corpora={learner["reads"]["corpus"]: learner["reads"]["identity"]})
        assert plain(Word2VecDomain().prepare(Setup(), offer).learner) == learner
        assert plain(settings(Word2VecDomain())) == condition["strategy"]["parts"][0]["config"]
        assert Word2VecDomain.version == condition["strategy"]["parts"][0]["version"]
        assert plain(Word2VecDomain(redraw=True).prepare(Setup(), offer).learner) == {**learner, "shared": False}


def test_a_plan_counts_vectors_once_however_many_cells_share_them(
    plugins: PluginSpec, source: DataSource, tmp_path: Path, trained: list[Training]
) -> None:
    def planned(*strategies: str) -> Estimate:
        request = Request(("t", "u"), strategies, budgets=(50,), replicates=3)
        return estimate(request, open_registry(plugins), source, plugins, tmp_path / "none", lambda line: None)

    found = planned("word2vec-domain(width=8)", "word2vec-domain(width=8,redraw=True)", "word2vec(width=8)")
    # The redrawn vectors of replicate 0 are the shared ones, so two more are trained for the three replicates.
    assert [row["times"] for row in found.stages] == [1, 2]
    assert all(row["stage"].startswith("unlabelled text of the domain: t @50") for row in found.stages)
    assert [row["times"] for row in planned("word2vec-domain(width=8)").stages] == [1]  # there by now, as for others


def test_a_plan_takes_the_training_of_vectors_out_of_the_cells(
    plugins: PluginSpec, source: DataSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used = Used("vectors", stage="a", shared=True, seconds=62.0, spent=60.0)  # it waited for another process
    facts = {"cost": {"seconds": {"upstream": 60.0, "evaluate": 0.5, "total": 63.0}},
             "training": {"upstream": [asdict(used)]}}
    monkeypatch.setattr(cells, "run_cell", lambda cell, shop: Outcome(facts))
    request = Request(("t",), ("word2vec-domain(width=8)",), budgets=(50,), replicates=2)
    found = estimate(request, open_registry(plugins), source, plugins, tmp_path / "none", lambda line: None)
    assert [row["seconds_each"] for row in found.rows] == [3.0]
    assert [(row["times"], row["seconds_each"]) for row in found.stages] == [(1, 62.0)]
    assert found.seconds == 2 * 3.0 + 62.0


def test_a_setup_says_that_each_replicate_has_its_own() -> None:
    offer = Offer("text-classification", "t", None, 50, corpora={"embedded": {}})
    assert Word2VecDomain(redraw=True).prepare(Setup(), offer).learner.shared is False
    assert Word2VecDomain().prepare(Setup(), offer).learner.shared is Learner().shared is True
