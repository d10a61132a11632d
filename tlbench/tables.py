"""Read a data file into named columns: CSV, TSV, JSON Lines, Parquet, `.npz` and structured `.npy`.

Nothing in a file is ever executed: NumPy object arrays are pickles and are refused.
"""

from __future__ import annotations

import csv
import difflib
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tlbench.errors import UserError

_SAVE_NPZ = "np.savez(path, text=np.array(texts, dtype=str), label=np.array(labels))"
_SAVE_NPY = 'np.save(path, np.array(list(zip(texts, labels)), dtype=[("text", "U2000"), ("label", "U50")]))'


@dataclass(frozen=True)
class Table:
    """Columns of one file.

    Attributes:
        path: The file.
        columns: Name to values, all of one length; absent values are `None`.
        lines: Line of the file at which each row starts; `None` for binary formats.
    """

    path: Path
    columns: Mapping[str, Sequence[Any]]
    lines: Sequence[int] | None = None

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), ()))

    def where(self, row: int) -> str:
        """Return where a row stands, for messages: its line, or its number counted from 1."""
        place = f"row {row + 1}" if self.lines is None else f"line {self.lines[row]}"
        return f"{place} of {str(self.path)!r}"

    def column(self, name: str) -> Sequence[Any]:
        """Return the values of one column.

        Raises:
            UserError: there is no such column; the nearest name is suggested.
        """
        if name not in self.columns:
            only = next(iter(self.columns))
            other = next((mark for mark in ";\t|" if mark in only), None) if len(self.columns) == 1 else None
            hint = (f"its columns seem to be separated by {other!r}, so save it with commas, or with tabs as .tsv"
                    if other else f"{nearest(name, self.columns)} (--text, --text-pair and --label name columns, and "
                    "--column that of tlbench pretrain)")
            raise UserError(f"{str(self.path)!r} has no column {name!r}: {hint}")
        return self.columns[name]


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a hint: the known name that is most like `name`, or all known names."""
    names = [str(each) for each in known]
    close = difflib.get_close_matches(name, names, n=1)
    return f"did you mean {close[0]!r}?" if close else f"use one of {', '.join(map(repr, names))}"


def read_table(path: Path) -> Table:
    """Read one file; its ending says how.

    Raises:
        UserError: the file is missing, empty, damaged or of an unknown format; one sentence with the place.
    """
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        if not path.exists():
            raise UserError(f"the data file {str(path)!r} does not exist: check the path")
        known = ", ".join(_READERS)
        raise UserError(f"{str(path)!r} has the unknown ending {path.suffix!r}: use one of {known}")
    if not path.is_file():
        raise UserError(f"the data file {str(path)!r} does not exist: check the path")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"the data file {str(path)!r} cannot be read ({error.strerror}): "
                        "check its permissions") from error
    if not data.strip():
        raise UserError(f"the data file {str(path)!r} is empty: give one row per example")
    table = reader(path, data)
    if not len(table):
        raise UserError(f"the data file {str(path)!r} holds no rows: give one row per example")
    return table


def _text(path: Path, data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UserError(f"{str(path)!r} is not UTF-8 at byte {error.start} (0x{data[error.start]:02x}, line "
                        f"{line}): save it as UTF-8") from error


def _delimited(delimiter: str) -> Callable[[Path, bytes], Table]:
    def read(path: Path, data: bytes) -> Table:
        text = _text(path, data)
        limit = csv.field_size_limit(2**31 - 1)  # the default refuses texts over 131,072 characters
        try:
            header, rows, lines = _csv_rows(path, text, delimiter)
        finally:
            csv.field_size_limit(limit)
        return Table(path, {name: [row[at] for row in rows] for at, name in enumerate(header)}, lines)

    return read


def _csv_rows(path: Path, text: str, delimiter: str) -> tuple[list[str], list[list[str]], list[int]]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    header: list[str] = []
    rows: list[list[str]] = []
    lines: list[int] = []
    start = 1
    try:
        for row in reader:
            if row and not header:
                header = _header(path, row)
            elif row:
                if len(row) != len(header):
                    raise UserError(f"line {start} of {str(path)!r} has {len(row)} fields, the header has "
                                    f"{len(header)}: quote fields that hold a separator or a line break")
                rows.append(row)
                lines.append(start)
            start = reader.line_num + 1
    except csv.Error as error:
        raise UserError(f"line {start} of {str(path)!r} is not valid CSV ({error}): "
                        "check its quotes") from error
    return header, rows, lines


def _header(path: Path, names: list[str]) -> list[str]:
    twice = [name for at, name in enumerate(names) if name in names[:at]]
    if twice:
        raise UserError(f"the header of {str(path)!r} names column {twice[0]!r} twice: rename one")
    return names


def _json_lines(path: Path, data: bytes) -> Table:
    rows: list[dict[str, Any]] = []
    lines: list[int] = []
    for number, line in enumerate(_text(path, data).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            if "\\ud" in line.lower():
                json.dumps(row, ensure_ascii=False).encode()  # half of a character cannot be stored
        except RecursionError:
            raise UserError(f"line {number} of {str(path)!r} is nested too deeply: write one JSON object on each "
                            "line") from None
        except ValueError as error:
            raise UserError(f"line {number} of {str(path)!r} is not valid JSON ({error}): "
                            "write one JSON object on each line") from error
        if not isinstance(row, dict):
            raise UserError(f"line {number} of {str(path)!r} is a JSON {type(row).__name__}, not an object: "
                            "write one JSON object on each line")
        rows.append(row)
        lines.append(number)
    names = {name: None for row in rows for name in row}
    return Table(path, {name: [row.get(name) for row in rows] for name in names}, lines)


def _parquet(path: Path, data: bytes) -> Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(io.BytesIO(data))
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{str(path)!r} is not a readable Parquet file: write it again") from error
    return Table(path, {name: table.column(name).to_pylist() for name in table.column_names})


def _npz(path: Path, data: bytes) -> Table:
    arrays = _numpy(path, data, _SAVE_NPZ)
    if not isinstance(arrays, dict):
        raise UserError(f"{str(path)!r} holds a single array, not named ones: save it with {_SAVE_NPZ}")
    sizes = {name: array.shape for name, array in arrays.items()}
    if any(len(shape) != 1 for shape in sizes.values()) or len(set(sizes.values())) > 1:
        raise UserError(f"the arrays of {str(path)!r} have the shapes {sizes}: "
                        "give each one dimension and the same length")
    return Table(path, {name: _values(path, array) for name, array in arrays.items()})


def _npy(path: Path, data: bytes) -> Table:
    array = _numpy(path, data, _SAVE_NPY)
    if isinstance(array, dict) or array.dtype.names is None or array.ndim != 1:
        raise UserError(f"{str(path)!r} is not a structured array of one dimension: save it with {_SAVE_NPY}")
    return Table(path, {name: _values(path, array[name]) for name in array.dtype.names})


def _numpy(path: Path, data: bytes, save: str) -> Any:
    """Return an array, or a dictionary of arrays, and never unpickle."""
    import zipfile

    import numpy as np

    if not data.startswith((b"PK\x03\x04", b"\x93NUMPY")):
        raise UserError(f"{str(path)!r} is not a NumPy file: save it with {save}")
    try:
        loaded = np.load(io.BytesIO(data), allow_pickle=False)
        named = isinstance(loaded, np.lib.npyio.NpzFile)
        return {name: loaded[name] for name in loaded.files} if named else loaded
    except (ValueError, EOFError, OSError, zipfile.BadZipFile) as error:
        if "allow_pickle" in str(error):
            raise UserError(f"{str(path)!r} holds object arrays, which are pickles and are never loaded: "
                            f"save it with {save}") from error
        raise UserError(f"{str(path)!r} is a damaged NumPy file: save it again with {save}") from error


def _values(path: Path, array: Any) -> list[Any]:
    if array.dtype.kind == "S":
        return [_text(path, value) for value in array.tolist()]
    return list(array.tolist())


_READERS: Mapping[str, Callable[[Path, bytes], Table]] = {
    ".csv": _delimited(","),
    ".tsv": _delimited("\t"),
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".json": _json_lines,
    ".parquet": _parquet,
    ".npz": _npz,
    ".npy": _npy,
}
