"""api-entities: which words of documentation name a class, function, attribute, module or parameter."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from hashlib import sha256

from tlbench import DataSource, Splits, TokenExample, corpora


class ApiEntities(corpora.DocumentationTask):
    """Names in documentation, labelled by the roles with which authors marked them.

    A role (`:class:`, `:func:`, `:meth:`, `:attr:`, `:mod:`) gives the type; a marked word that the
    documented signature lists is a parameter. Markup is stripped, dotted paths are cut to their last part,
    every occurrence of a marked name gets its label, and words that look like identifiers without being
    marked are left out of loss and score: nobody said what they are.

    Splits: the corpus's split map; of sentences with nothing but parameters, and of all others, at most eight per
    top-level object (the group) and four per name each; there are at most as many of the first sort as of the second.
    """

    name = "api-entities"
    kind = "token-classification"
    summary = "names of classes, functions, attributes, modules, parameters in documentation"
    metric = "entity_f1"
    default_budget = 500
    template = "Names in documentation, each with its type ({labels}).\n\nText: {words}\nNames:"

    min_words, max_words = 6, 40
    per_group, per_name = 8, 4

    def load(self, source: DataSource) -> Splits:
        """Return both sides of the split map."""
        corpus = corpora.apidoc.corpus(source)
        known = frozenset(row.name.rsplit(".", 1)[-1] for row in corpus.train if row.kind == "class")
        tested = [part for row in corpus.test for part in corpora.parts(row)]
        train, test, removed = corpora.apart(
            self._examples(corpus.train, known), self._examples(corpus.test, known),
            lambda example: [" ".join(example.words)], known=tested)
        return Splits(train, test, notes={**corpus.provenance, "removed": removed})

    def _examples(self, rows: Iterable[corpora.Docstring], known: frozenset[str]) -> list[TokenExample]:
        """Return sentences with a marked name; those with nothing but parameters at most as many again."""
        roles: list[TokenExample] = []
        parameters: list[TokenExample] = []
        for row in rows:
            for number, words in enumerate(_sentences(row, known)):
                types = {label for _, label in words} - {None, "O"}
                if types and self.min_words <= len(words) <= self.max_words:
                    kept = parameters if types == {"parameter"} else roles
                    kept.append(_example(f"{row.name}#{number}", row.owner, words))
        roles = _drawn(roles, self.per_group, self.per_name)
        parameters = _drawn(parameters, self.per_group, self.per_name)
        return sorted([*roles, *parameters[:len(roles)]], key=lambda example: example.id)


Word = tuple[str, str | None]
"""A word and its type: one of `TYPES`, `O`, or `None` for a word that nobody vouches for."""

_TYPES = {"class": "class", "func": "function", "meth": "function", "attr": "attribute", "mod": "module"}
_MARK = re.compile(r":(?:py:)?(?P<role>[a-z]+):`(?P<target>[^`]+)`|"
                   r"(?<![`\w:])(?P<ticks>`{1,2})(?P<quoted>[^`]+)(?P=ticks)(?:_\b)?(?!`)|"
                   r"(?<![\w*])\*(?P<starred>[A-Za-z_]\w*)\*(?![\w*])")
_TOKEN = re.compile(r"[A-Za-z]+'[a-z]+|[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*|\d+(?:\.\d+)*|[^\w\s]")
_NAME = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*")
_IDENTIFIER = re.compile(r"_|\w\.\w|[a-z][A-Z]|[A-Z]{2}[a-z]|[A-Za-z]\d|^[b-zB-HJ-Z]$")


def _sentences(row: corpora.Docstring, known: frozenset[str]) -> list[list[Word]]:
    """Return the sentences of a docstring's prose and parameter descriptions, as typed words."""
    found = corpora.sections(row.text)
    signature = frozenset(row.parameters) | {name for name, _ in found.parameters}
    paragraphs = [*found.prose, *(description for _, description in found.parameters)]
    return [_read(sentence, row.kind, signature, known)
            for paragraph in paragraphs for sentence in corpora.sentences(paragraph)]


def _read(sentence: str, kind: str, signature: frozenset[str], known: frozenset[str]) -> list[Word]:
    """Return typed words; none without a mark, with broken markup, or where a name has two types."""
    words: list[Word] = []
    end = 0
    for mark in _MARK.finditer(sentence):
        words += _plain_words(sentence[end:mark.start()], signature, known)
        words += _marked_words(mark, kind, signature)
        end = mark.end()
    if not end:
        return []
    words += _plain_words(sentence[end:], signature, known)
    types = {(word, label) for word, label in words if label not in (None, "O")}
    labels = dict(types)
    if len(labels) < len(types) or any(word in "`~" for word, _ in words):  # broken markup
        return []
    return [(word, labels.get(word, label)) for word, label in words]


def _marked_words(mark: re.Match[str], kind: str, signature: frozenset[str]) -> list[Word]:
    """Return the words that a role or quotation shows, typed if it marks a single name of a known sort."""
    role = mark["role"]
    shown = (mark["quoted"] or mark["starred"] or corpora.role_target(mark["target"])).lstrip("~!")
    if not _NAME.fullmatch(shown) or len(shown) == 1:  # one letter is a parameter to anybody
        return [(word, None) for word in _TOKEN.findall(shown)]
    shown = shown.rsplit(".", 1)[-1]  # a dotted path would give its sort away
    if shown in signature and role in (None, "attr"):  # torch marks its parameters as attributes
        return [(shown, "parameter")]
    if role == "attr" and kind == "function" and "." not in mark["target"]:
        return [(shown, None)]  # a function has no attributes: a parameter that the signature lost
    return [(shown, _TYPES.get(role or ""))]


def _plain_words(text: str, signature: frozenset[str], known: frozenset[str]) -> list[Word]:
    """Return unmarked words: plain ones lie outside entities, those that may be names are left open.

    The first word has a capital for another reason than being a class.
    """
    words = _TOKEN.findall(text)
    open_ones = {word for index, word in enumerate(words)
                 if word in signature or (index and word in known) or _IDENTIFIER.search(word)}
    return [(word, None if word in open_ones else "O") for word in words]


def _example(identifier: str, group: str, words: list[Word]) -> TokenExample:
    tags = tuple(label if label in (None, "O") else f"B-{label}" for _, label in words)
    return TokenExample(identifier, tuple(word for word, _ in words), tags, group=group)


def _drawn(examples: Iterable[TokenExample], per_group: int, per_name: int) -> list[TokenExample]:
    """Return examples in the order of their ids' hashes, at most so many per group and per name."""
    kept: list[TokenExample] = []
    count: Counter[str] = Counter()
    for example in sorted(examples, key=lambda example: sha256(example.id.encode()).digest()):
        tagged = zip(example.words, example.tags, strict=True)
        names = {word for word, tag in tagged if tag not in (None, "O")}
        group = f"in {example.group}"
        if count[group] < per_group and all(count[name] < per_name for name in names):
            kept.append(example)
            count.update([group, *names])
    return kept
