"""Parts of docstrings in both styles, and plain words from their markup."""

from __future__ import annotations

import pytest

from tlbench.corpora import plain, sections, sentences

NUMPY = """fit(X, y=None)

Fit the model to data.

The solver is iterative, see :class:`~a.b.Solver`::

    fit(X)

.. versionadded:: 1.2
   Not prose.

It stops early.

Parameters
----------
X : array of shape (n, m)
    Training data.

    - a list item
alpha : float, default=1.0
    Strength of the penalty. Must be positive.

Returns
-------
self : object
    Fitted.

Notes
-----
The cost is quadratic.
"""
GOOGLE = """Load a model.

Args:
    path (`str` or `os.PathLike`, *optional*, defaults to `None`):
        Where it lies,
        on disk.
    strict (bool): Whether to complain.
    **kwargs: The rest.

Returns:
    The model.

Example:
    >>> load("x")
"""


def test_sections_reads_numpydoc() -> None:
    found = sections(NUMPY)
    assert found.summary == "Fit the model to data."
    assert found.extended == ("The solver is iterative, see :class:`~a.b.Solver`:", "It stops early.")
    assert found.notes == ("The cost is quadratic.",)
    assert found.parameters == (("X", "Training data."), ("alpha", "Strength of the penalty. Must be positive."))


def test_sections_reads_google_style() -> None:
    assert sections(GOOGLE).summary == "Load a model."
    assert sections(GOOGLE).parameters == (
        ("path", "Where it lies, on disk."), ("strict", "Whether to complain."), ("kwargs", "The rest."))


def test_sections_takes_an_untitled_list_for_parameters() -> None:
    found = sections("labels (`torch.Tensor`, *optional*):\n    The labels.\nreturn_dict (`bool`):\n    Whether to.")
    assert (found.summary, found.parameters) == ("", (("labels", "The labels."), ("return_dict", "Whether to.")))


@pytest.mark.parametrize("text", ["", "\n\n", ">>> f()", "Args:", "Parameters\n----------", "x" * 10_000])
def test_sections_survives_anything(text: str) -> None:
    assert sections(text).parameters == ()


@pytest.mark.parametrize(("marked", "shown"), [
    (":class:`~torch.nn.Linear` and :func:`f()`", "Linear and f"),
    ("``None`` or `x` or *y* or **z**", "None or x or y or z"),
    ("see [1]_ and `the guide <https://x.org>`__.", "see and the guide."),
    ("[`Trainer`] ([docs](https://x.org))", "Trainer (docs)"),
    ("read more (see https://x.org/a.b).", "read more."),
    ("2 * x ** 2", "2 * x ** 2"),
])
def test_plain_shows_what_a_reader_sees(marked: str, shown: str) -> None:
    assert plain(marked) == shown


def test_sentences_keep_abbreviations_together() -> None:
    assert sentences("Use it, e.g. For loops. See Fig. 3. Then stop.") == [
        "Use it, e.g. For loops.", "See Fig. 3.", "Then stop."]
