"""Documents for pre-training: the embedded corpora, text files, or a column of a data file.

No torch here. Whatever the source, documents are distinct, sorted and fingerprinted, so that equal text gives an
equal corpus wherever it lies.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from tlbench.errors import UserError
from tlbench.files import file_sha256
from tlbench.sources import DataSource, fingerprint

Unit = Literal["paragraph", "line", "file"]
FRENCH_SHARE = 0.10
HELD_OUT = 64
"""One document in so many is kept for the held-out loss."""
FEWEST = 16
FACTS = "pretraining.json"
"""The file by which tlbench knows a model's folder as its own; the card in such a folder is no text to learn from."""
DECLARED = {"apidoc": "apidoc-training-side", "ui-strings": "ui-strings-training-side"}
"""Embedded text by its name in the provenance, and how a model declares that it has read its training side."""
_NOTE = ("Texts are of the training side of the embedded corpora only: no test text is among them; validation texts "
         "are, unlabelled. A docstring is one document, so its summary stood beside its description; English and "
         "French strings are separate documents, never shown in pairs.")
_BREAKS = {"paragraph": re.compile(r"\n[^\S\n]*\n"), "line": re.compile(r"\n"), "file": re.compile(r"(?!)")}


@dataclass(frozen=True)
class Documents:
    """What a model is pre-trained on.

    Attributes:
        texts: Distinct documents, sorted.
        scarce: Documents that are repeated within an epoch until they make up `share` of its tokens.
        share: Least share of the scarce documents, 0 <= share < 1; 0 reads them once.
        provenance: Where the text comes from, for the model's card; JSON types.
        licence: Licence of the text, for the card.
        languages: ISO 639-1 codes, empty if unknown.
        note: What a reader of the card has to know besides.
    """

    texts: tuple[str, ...]
    scarce: tuple[str, ...] = ()
    share: float = 0.0
    provenance: Mapping[str, Any] = field(default_factory=dict)
    licence: str = "unknown"
    languages: tuple[str, ...] = ()
    note: str = ""

    @property
    def fingerprint(self) -> str:
        """Return the SHA-256 of the documents and of how often the scarce ones are read."""
        return fingerprint([*self.texts, self.share, *self.scarce])

    def divide(self) -> tuple[Documents, Documents]:
        """Split by hash into a large part to train on and a small one to measure with.

        One document in 64 is held out. So that a small corpus has a held-out loss too, there are at least 16, as long
        as that is no more than one in eight, and always one.
        """
        ranked = sorted((*self.texts, *self.scarce), key=_hash)
        by_hash = sum(_hash(text)[0] < 256 // HELD_OUT for text in ranked)
        held = set(ranked[:max(by_hash, min(FEWEST, len(ranked) // 8), 1)])
        return self._part(lambda text: text not in held), self._part(lambda text: text in held)

    def _part(self, wanted: Callable[[str], bool]) -> Documents:
        return replace(self, texts=tuple(filter(wanted, self.texts)), scarce=tuple(filter(wanted, self.scarce)))


def documents_of(texts: Iterable[str], **facts: Any) -> Documents:
    """Return distinct documents in an order of their own; empty ones are dropped.

    Args:
        texts: Any texts, such as a task's training texts.
        facts: `provenance`, `licence` and `languages` of the result.

    Raises:
        UserError: fewer than two distinct documents are left.
    """
    found = _distinct(texts)
    if len(found) < 2:
        raise UserError(f"the corpus holds {len(found)} documents with text in them: give at least 2, one of which is "
                        "held out to measure the loss")
    return Documents(found, **facts)


@lru_cache(maxsize=1)
def texts_of_corpus(name: str, source: DataSource) -> tuple[str, ...]:
    """Return the texts of a corpus that strategies are offered, the scarce ones last; read once per process.

    Raises:
        UserError: there is no such corpus, or a package whose text is read is not installed.
    """
    if name != "embedded":
        raise UserError(f"corpus {name!r} is not known: strategies may read 'embedded'")
    found = embedded(source)
    return (*found.texts, *found.scarce)


def embedded(source: DataSource) -> Documents:
    """Return the training side of the embedded corpora, French strings repeated to a tenth of the tokens.

    Interface strings of the two languages are separate documents: no pair is shown as one.

    Raises:
        UserError: a package whose text is read is not installed.
    """
    from tlbench.corpora import apidoc, interface
    from tlbench.corpora.duplicates import normalise

    pairs = interface.training_strings(source)
    forbidden = {normalise(row.text) for row in apidoc.corpus(source).test}
    texts = [text for text in apidoc.training_texts(source) if normalise(text) not in forbidden]
    provenance = {"apidoc": dict(apidoc.provenance(source)), "ui-strings": dict(interface.provenance(source))}
    return Documents(
        _distinct([*texts, *(english for english, _ in pairs)]), _distinct(french for _, french in pairs),
        FRENCH_SHARE, provenance, f"{apidoc.LICENCE}; {interface.LICENCE}; read from installed packages, not shipped",
        ("en", "fr"), _NOTE)


def from_files(paths: Sequence[Path], unit: Unit = "paragraph") -> Documents:
    """Return the documents of text files; of a folder, of every `.txt` and `.md` file below it.

    Args:
        paths: Files or folders.
        unit: What one document is: a paragraph (between blank lines), a line, or a whole file.

    Raises:
        UserError: a path is missing, a file is not UTF-8, or there is too little text.
    """
    files = [file for path in paths for file in _text_files(path)]
    texts: list[str] = []
    for file in files:
        texts += [text.strip("\n") for text in _BREAKS[unit].split(_read(file))]
    names = [{"file": file.name, "sha256": file_sha256(file)} for file in files]
    return documents_of(texts, provenance={"files": names, "documents": f"one per {unit}"})


def from_column(path: Path, column: str) -> Documents:
    """Return the texts in one column of a data file, or of a folder that `datasets` saved with `save_to_disk`.

    Of a saved dictionary of splits only `train` is read.

    Raises:
        UserError: the file or the column is missing or holds something that is no text.
    """
    values = _saved(path, column) if path.is_dir() else _table(path, column)
    wrong = next((value for value in values if value is not None and not isinstance(value, str)), None)
    if wrong is not None:
        raise UserError(f"column {column!r} of {str(path)!r} holds {wrong!r}, which is no text: name the text column "
                        "with --column")
    facts = {"file": path.name, "column": column}
    return documents_of((value for value in values if value), provenance=facts)


def _text_files(path: Path) -> list[Path]:
    if path.is_dir():
        found = sorted(file for file in path.rglob("*") if file.suffix in (".txt", ".md") and file.is_file()
                       and not _beside(file, path))
        if not found:
            raise UserError(f"folder {str(path)!r} holds no .txt or .md file: name the files themselves")
        return found
    if not path.is_file():
        raise UserError(f"the text file {str(path)!r} does not exist: check the path")
    return [path]


def _beside(file: Path, top: Path) -> bool:
    """Return whether a file lies in a hidden folder, or in that of a model which tlbench made, below another one."""
    between = file.relative_to(top).parts[:-1]
    folders = [top.joinpath(*between[: depth + 1]) for depth in range(len(between))]
    return any(folder.name.startswith(".") or (folder / FACTS).is_file() for folder in folders)


def _read(path: Path) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"the text file {str(path)!r} cannot be read ({error.strerror}): check its permissions"
                        ) from error
    if b"\0" in data:
        raise UserError(f"{str(path)!r} holds a null byte, so it is no text: leave it out")
    try:
        return data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UserError(f"{str(path)!r} is not UTF-8 at byte {error.start} (line {line}): save it as UTF-8") from error


def _table(path: Path, column: str) -> Sequence[Any]:
    from tlbench.tables import read_table

    return read_table(path).column(column)


def _saved(path: Path, column: str) -> Sequence[Any]:
    import datasets

    try:
        found = datasets.load_from_disk(str(path))
    except (OSError, ValueError) as error:
        raise UserError(f"folder {str(path)!r} was not made by a dataset's save_to_disk: give such a folder or a data "
                        "file") from error
    found = found["train"] if isinstance(found, datasets.DatasetDict) and "train" in found else found
    if isinstance(found, datasets.DatasetDict):
        raise UserError(f"the dataset in {str(path)!r} has no split 'train', only {', '.join(found)}: save the split "
                        "to read by itself")
    names = found.column_names
    if column not in names:
        raise UserError(f"the dataset in {str(path)!r} has no column {column!r}, only {', '.join(names)}: name the "
                        "text column with --column")
    return list(found[column])


def _distinct(texts: Iterable[str]) -> tuple[str, ...]:
    """Return distinct texts, sorted; a lone surrogate, which no encoding can hold, becomes a question mark."""
    return tuple(sorted({text.encode("utf-8", "replace").decode() for text in texts if text.strip()}))


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
