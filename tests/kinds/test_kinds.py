from __future__ import annotations

import subprocess
import sys

import pytest

from tlbench.errors import UserError
from tlbench.kinds import KINDS, kind_named

HEAVY = (
    "torch",
    "scipy",
    "sklearn",
    "sacrebleu",
    "rouge_score",
    "nltk",
    "seqeval",
    "evaluate",
    "datasets",
    "transformers",
)


@pytest.mark.parametrize("name", KINDS)
def test_kind_is_found_by_name_and_its_metrics_are_named(name):
    kind = kind_named(name)
    assert kind.name == name
    assert kind.metric("") is kind.metrics[0]
    assert kind.metrics[0].higher_is_better
    assert len({metric.name for metric in kind.metrics}) == len(kind.metrics)
    assert all(metric.signature for metric in kind.metrics)


def test_unknown_kind_lists_the_known_ones():
    with pytest.raises(UserError, match="'poetry' does not exist: use one of text-classification"):
        kind_named("poetry")


def test_importing_kinds_and_statistics_loads_nothing_heavy():
    code = (
        "import sys, tlbench.stats, tlbench.verdicts, tlbench.kinds.evaluate_metric\n"
        "from tlbench.kinds import kind_named\nkind_named('text-generation')\n"
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
