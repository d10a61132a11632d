"""Grid files: the flags of a run in TOML, so that a grid can be kept, read and given again."""

from __future__ import annotations

import reprlib
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tlbench.errors import UserError
from tlbench.model import PACKAGE
from tlbench.registry import known
from tlbench.specs import split_outside

_NAMES = Field(None, description="a string or an array of strings")
_NAME = Field(None, description="a string")
_WHOLE = Field(None, description="a whole number")
_SWITCH = Field(None, description="true or false")
_PATH = Field(None, description="a path, as a string")
_PATHS = Field(None, description="a path or an array of paths, as strings")


class GridFile(BaseModel):
    """The keys of a grid file: those of `tlbench run`, each of the type that its flag takes.

    Several values are an array, or the string that the flag takes. Nothing is converted: `"3"` is no number.
    """

    model_config = ConfigDict(extra="forbid", strict=True, alias_generator=lambda name: name.replace("_", "-"))

    tasks: str | list[str] | None = _NAMES
    strategies: str | list[str] | None = _NAMES
    models: str | list[str] | None = _NAMES
    budgets: int | str | list[int | str] | None = Field(
        None, description="whole numbers or 'full', alone or in an array"
    )
    replicates: int | None = _WHOLE
    sources: str | list[str] | None = _NAMES
    ablate: bool | None = _SWITCH
    label_noise: float | int | None = Field(None, description="a number")
    suite: str | None = _NAME
    precision: Literal["auto", "fp32", "bf16"] | None = Field(None, description="'auto', 'fp32' or 'bf16'")
    out: str | None = _PATH
    mirror: str | None = _PATH
    any_rows: bool | None = _SWITCH
    offline: bool | None = _SWITCH
    plugin: str | list[str] | None = _PATHS
    data: str | list[str] | None = _PATHS
    text: str | None = _NAME
    text_pair: str | None = _NAME
    label: str | None = _NAME
    kind: str | None = _NAME
    strict: bool | None = _SWITCH
    fresh: bool | None = _SWITCH
    workers: int | None = _WHOLE
    retry_failed: bool | None = _SWITCH
    no_predictions: bool | None = _SWITCH
    json_: bool | None = Field(None, alias="json", description="true or false")


def read(path: Path) -> dict[str, Any]:
    """Return what a grid file says, by flag without its dashes.

    Args:
        path: The file; relative paths in it are relative to its folder.

    Returns:
        A string as the flag takes it, a whole number or a truth value; for `plugin` and `data` a list of paths.

    Raises:
        UserError: the file is missing or malformed, or a key is unknown or of the wrong type.
    """
    content = _parsed(path)
    for key in content:
        known(_WANTED, key, f"in the grid file {str(path)!r} the key")
    try:
        given = GridFile.model_validate(content)
    except ValidationError as error:
        key = str(error.errors()[0]["loc"][0])
        raise UserError(
            f"{key!r} in the grid file {str(path)!r} is {reprlib.repr(content[key])}: give {_WANTED[key]}"
        ) from error
    values = given.model_dump(by_alias=True, exclude_unset=True)
    return {key: _as_flag(key, value, path.parent) for key, value in values.items()}


def flags(values: Mapping[str, Any]) -> list[str]:
    """Return the arguments that say what a grid file said."""
    arguments: list[str] = []
    for key, value in values.items():
        if isinstance(value, bool):
            arguments += [f"--{key}"] if value else []
        else:
            for each in value if isinstance(value, list) else [value]:
                arguments += [f"--{key}", str(each)]
    return arguments


_WANTED = {str(field.alias): str(field.description) for field in GridFile.model_fields.values()}


def _parsed(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"the grid file {str(path)!r} cannot be read ({error.strerror}): check --grid") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"the grid file {str(path)!r} is not valid TOML in UTF-8: {error}") from error


def _as_flag(key: str, value: Any, folder: Path) -> Any:
    if key in ("plugin", "data"):
        return [_located(each, folder) for each in ([value] if isinstance(value, str) else value)]
    if key in ("out", "mirror"):
        return _located(value, folder)
    if key == "models":
        names = split_outside(value, ",") if isinstance(value, str) else value
        return ",".join(_model(name, folder) for name in names)
    if key == "budgets" and isinstance(value, int):
        return str(value)
    return ",".join(map(str, value)) if isinstance(value, list) else value


def _located(path: str, folder: Path) -> str:
    return str(folder / Path(path).expanduser())


def _model(name: str, folder: Path) -> str:
    """Return a model's name as it is, unless it is a folder: that is written so that it cannot be taken for a name."""
    path = folder / Path(name).expanduser()
    if name.startswith(PACKAGE) or not (name.startswith((".", "~")) or path.is_dir()):
        return name
    return str(path) if path.is_absolute() else f"./{path}"
