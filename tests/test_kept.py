"""What a learner of a third party keeps in the cache: under its own name, version and file, found by later runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tlbench import api
from tlbench.planning import Request
from tlbench.records import Record, Store
from tlbench.sources import DataSource
from tlbench.stages.kept import Kept
from tlbench.stages.store import StageStore
from tlbench.workshop import PluginSpec, open_registry

PLUGIN = '''
"""A strategy that keeps one number."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tlbench import Learner, LearnerModel, Shared, Strategy


class Guess(LearnerModel):
    """Always the same class."""

    def keep_in(self, stages):
        self.stages = stages

    def fit(self, train, validation):
        arrays, there = self.stages.get_or_make({"draw": self.stages.draw}, self.make)
        self.made = Shared("a number", 0.002, 0.0 if there else 0.001)
        return {"number": int(arrays["number"])}

    def make(self):
        with Path(LOG).open("a") as log:
            log.write("made\\n")
        return {"number": np.array(40 + self.stages.draw)}

    def predict(self, examples):
        return ["0"] * len(examples)

    def shared(self):
        return self.made


@dataclass(frozen=True)
class Number(Strategy):
    """Guess. Outside data: none."""

    redraw: bool = False
    name = "number"
    uses_model = False
    transfers = False
    writes = frozenset({"learner"})

    def prepare(self, setup, offer):
        return replace(setup, learner=Learner(self.name, shared=not self.redraw))

    def learner(self, config, kind, seed):
        return Guess()
'''


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., list[Record]]:
    """Return a function from a folder, strategies and a change of the plugin's file to records, in order."""
    rows = "".join(f"text {i},{i % 2}\n" for i in range(100))
    (tmp_path / "t.csv").write_text("text,label\n" + rows, encoding="utf-8")

    def records(folder: str, *strategies: str, change: str = "") -> list[Record]:
        file = tmp_path / "number_plugin.py"
        file.write_text(f"LOG = {str(tmp_path / 'log')!r}\n{PLUGIN}{change}", encoding="utf-8")
        plugins = PluginSpec(files=(file,), data=({"path": tmp_path / "t.csv"},))
        api.execute(Request(("t",), strategies, budgets=(20,), replicates=2), api.Options(tmp_path / folder),
                    DataSource(cache=tmp_path / "cache", offline=True), plugins, registry=open_registry(plugins))
        return sorted(Store(tmp_path / folder).load(), key=lambda record: (record.strategy["name"], record.replicate))

    return records


def made(folder: Path) -> int:
    return len((folder / "log").read_text(encoding="utf-8").splitlines())


def test_a_learner_of_a_third_party_keeps_what_it_made_until_its_file_changes(
    run: Callable[..., list[Record]], tmp_path: Path
) -> None:
    first, second = run("one", "number")
    assert [(one.training["fit"]["number"], one.status) for one in (first, second)] == [(40, "ok")] * 2
    assert [one.training["upstream"][0]["spent"] for one in (first, second)] == [0.001, 0]
    assert made(tmp_path) == 1
    (again, _) = run("two", "number")
    assert made(tmp_path) == 1
    assert again.training["upstream"][0]["stage"] == first.training["upstream"][0]["stage"]
    (changed, _) = run("three", "number", change="\n# another file\n")
    assert made(tmp_path) == 2
    assert changed.training["upstream"][0]["stage"] != first.training["upstream"][0]["stage"]


def test_a_learner_of_a_third_party_draws_anew_for_each_replicate(
    run: Callable[..., list[Record]], tmp_path: Path
) -> None:
    found = run("one", "number", "number(redraw=True)")
    assert [record.training["fit"]["number"] for record in found] == [40, 40, 40, 41]
    assert made(tmp_path) == 2
    assert [record.training["upstream"][0]["shared"] for record in found] == [True, True, False, False]


class Alone:
    rank, world = 0, 1

    def gather(self, items: Sequence[Any]) -> list[Any]:
        return list(items)


def test_identity_stands_for_all_that_was_asked_for(tmp_path: Path) -> None:
    kept = [Kept(StageStore(tmp_path), Alone(), {"learner": "a"}, 0) for _ in range(3)]
    assert kept[0].identity == ""
    for stages, names in zip(kept, ("", "x", "xy"), strict=True):
        for name in names:
            stages.get_or_make({"name": name}, lambda: {"array": np.zeros(1)})
    assert len({stages.identity for stages in kept}) == 3
    assert kept[1].store.path("learners", {"learner": "a", "made_from": {"name": "x"}}).name[:16] == kept[1].identity
