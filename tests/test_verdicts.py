from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from tlbench.stats import Delta
from tlbench.verdicts import holm, margin, shared_ranks, verdict

CLEAR = Delta(
    0.05,
    n=3,
    m=500,
    lo=0.02,
    hi=0.08,
    p=0.001,
    se=0.01,
    df=20.0,
    a=1e-4,
    b=1e-4,
    lo90=0.03,
    hi90=0.07,
    mde=0.04,
    test90=0.02,
)


def changed(**fields):
    return dataclasses.replace(CLEAR, **fields)


@pytest.mark.parametrize(
    ("m", "e"), [(100, 0.1), (500, 500**-0.5), (4999, 4999**-0.5), (5000, 0.01), (10**6, 0.01)]
)
def test_margin_follows_the_test_size(m, e):
    assert margin(m) == pytest.approx(e)


@pytest.mark.parametrize(
    ("delta", "p", "label", "flags"),
    [
        (CLEAR, 0.01, "HELPS", ()),
        (changed(value=-0.05, lo90=-0.07, hi90=-0.03), 0.01, "HARMS", ()),
        (changed(value=0.02), 0.01, "HELPS", ("small",)),
        (changed(value=0.0, lo90=-0.03, hi90=0.03), 0.9, "EQUAL", ()),
        (changed(value=0.0, lo90=-0.06, hi90=0.06, test90=0.05), 0.9, "UNCLEAR", ("test too small for EQUAL",)),
        (changed(value=0.0, lo90=-0.06, hi90=0.06), 0.9, "UNCLEAR", ("too few replicates for EQUAL",)),
        (changed(value=0.03, lo90=0.01, hi90=0.05), 0.06, "UNCLEAR", ()),
        (CLEAR, 0.05, "UNCLEAR", ()),
    ],
)
def test_verdict_follows_p_sign_and_margin(delta, p, label, flags):
    found = verdict(delta, 0.04, p)
    assert (found.label, found.flags) == (label, flags)
    assert found.mde == 0.04


def test_verdict_is_unstable_above_20_percent_collapsed():
    assert verdict(CLEAR, 0.04, 0.01, collapsed=0.2).flags == ()
    assert verdict(CLEAR, 0.04, 0.01, collapsed=0.34).flags == ("unstable",)


def test_no_verdict_below_three_replicates_or_without_interval():
    assert verdict(changed(n=2), 0.04, 0.01) is None
    assert verdict(Delta(0.5, n=3, m=1), 0.04, 1.0) is None


def test_holm_equals_the_textbook_example():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([0.2]) == [0.2]
    assert holm([]) == []
    assert holm([0.0, 1.0]) == [0.0, 1.0]


@pytest.mark.parametrize("p", [-0.1, 1.1, float("nan")])
def test_holm_refuses_what_is_no_probability(p):
    with pytest.raises(ValueError, match="a p value is not in"):
        holm([0.5, p])


def test_ranks_are_shared_by_rows_that_cannot_be_told_apart():
    apart = np.array([[0, 0, 1, 1], [0, 0, 0, 1], [1, 0, 0, 1], [1, 1, 1, 0]], dtype=bool)
    assert shared_ranks([0.9, 0.88, 0.85, 0.5], apart) == [(1, 2), (1, 3), (2, 3), (4, 4)]
    order = [2, 0, 3, 1]
    assert shared_ranks([0.85, 0.9, 0.5, 0.88], apart[np.ix_(order, order)]) == [(2, 3), (1, 2), (4, 4), (1, 3)]
    assert shared_ranks([0.1, 0.9], np.zeros((2, 2), dtype=bool)) == [(1, 2), (1, 2)]
    assert shared_ranks([], np.zeros((0, 0), dtype=bool)) == []


def test_ranks_refuse_a_relation_that_is_not_symmetric():
    with pytest.raises(ValueError, match="symmetric"):
        shared_ranks([1, 2], np.array([[False, True], [False, False]]))
