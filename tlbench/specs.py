"""Strategy specifications: `lora(rank=4)+augment` to strategies, and strategies to a Setup."""

from __future__ import annotations

import ast
import difflib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any, Literal, get_args, get_origin, get_type_hints

from tlbench.canonical import settings
from tlbench.errors import UserError
from tlbench.grid import StrategyPart, StrategyRef
from tlbench.model import Architecture
from tlbench.recipes import setup_of
from tlbench.registry import Registry
from tlbench.setups import Setup, Stream, TextStream
from tlbench.strategy import ExternalData, Offer, Strategy

_PART = re.compile(r"([A-Za-z0-9_.-]+)\s*(?:\((.*)\))?\s*", re.DOTALL)


def split_outside(text: str, separator: str) -> list[str]:
    """Split at a separator that stands outside parentheses; empty pieces are dropped."""
    pieces, depth, start = [], 0, 0
    for place, char in enumerate(text):
        depth += (char == "(") - (char == ")")
        if char == separator and depth == 0:
            pieces.append(text[start:place])
            start = place + 1
    pieces.append(text[start:])
    return [piece.strip() for piece in pieces if piece.strip()]


def parse_strategy(text: str, registry: Registry) -> tuple[Strategy, ...]:
    """Return the strategies that a specification names, in order.

    Raises:
        UserError: an unknown strategy or field, a malformed value, or two writers of one part.
    """
    parts = tuple(_parse_part(piece, registry) for piece in split_outside(text, "+"))
    if not parts:
        raise UserError(f"strategy {text!r} is empty: name one, for example 'finetune'")
    for place, part in enumerate(parts):
        for other in parts[:place]:
            clash = sorted(part.writes & other.writes)
            if clash:
                raise UserError(
                    f"strategy {text!r} cannot be composed: {other.name!r} and {part.name!r} both set the {clash[0]}, "
                    "so drop one of them"
                )
        if part.name in [other.name for other in parts[:place]]:
            raise UserError(f"strategy {text!r} names {part.name!r} twice: once is enough")
    _check_learner(text, parts)
    written = frozenset().union(*(part.writes for part in parts))
    if {"ties", "adapters"} <= written:
        raise UserError(
            f"strategy {text!r} cannot be composed: adapters would untie the tied layers, so drop one of them"
        )
    return parts


def _check_learner(text: str, parts: Sequence[Strategy]) -> None:
    """Refuse what would change nothing: a learner of its own has neither weights nor steps that others could set."""
    learner = next((part for part in parts if "learner" in part.writes), None)
    other = next((part for part in parts if part is not learner), None)
    if learner and other:
        raise UserError(
            f"strategy {text!r} cannot be composed: {learner.name!r} trains no network, so {other.name!r} would change "
            "nothing; drop one of them"
        )


def _parse_part(text: str, registry: Registry) -> Strategy:
    match = _PART.fullmatch(text)
    if not match:
        raise UserError(f"strategy {text!r} is malformed: write name or name(field=value)")
    cls = registry.strategy(match[1])
    allowed = [f.name for f in fields(cls)]  # type: ignore[arg-type]
    config: dict[str, Any] = {}
    for piece in split_outside(match[2] or "", ","):
        name, equals, value = (part.strip() for part in piece.partition("="))
        if not equals or name not in allowed:
            near = difflib.get_close_matches(name, allowed, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"its fields are {', '.join(allowed) or 'none'}"
            raise UserError(f"strategy {match[1]!r} has no field {name!r}: {hint}")
        try:
            config[name] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            config[name] = value
    return _checked(cls, config)


def _checked(cls: type[Strategy], config: dict[str, Any]) -> Strategy:
    """Make the strategy and check each given value against the type of its default, or its `Literal`."""
    default, hints = cls(), _hints(cls)
    for name, value in config.items():
        want = type(getattr(default, name))
        if want is float and isinstance(value, int) and not isinstance(value, bool):
            config[name] = value = float(value)
        if want is bool and value in ("true", "false"):
            config[name] = value = value == "true"
        if want is not type(None) and type(value) is not want:
            raise UserError(f"strategy {cls.name!r}: field {name!r} is {value!r}, but it takes a {want.__name__}")
        numbers = [one for one in (value if isinstance(value, tuple) else (value,)) if isinstance(one, float)]
        if not all(map(math.isfinite, numbers)):
            raise UserError(f"strategy {cls.name!r}: field {name!r} is {value!r}, but it takes a finite number")
        options = get_args(hints[name]) if get_origin(hints.get(name)) is Literal else (value,)
        if value not in options:
            raise UserError(f"strategy {cls.name!r}: field {name!r} is {value!r}, but it takes one of "
                            f"{', '.join(map(str, options))}")
    try:
        return cls(**config)
    except (ValueError, TypeError) as error:
        raise UserError(f"strategy {cls.name!r} refuses {config!r}: {error}") from error


def _hints(cls: type[Strategy]) -> dict[str, Any]:
    try:
        return get_type_hints(cls)
    except NameError:  # a plugin may import a type for type checkers alone
        return {}


def rests(parts: tuple[Strategy, ...], registry: Registry) -> list[tuple[Strategy, tuple[Strategy, ...]]]:
    """Return each part of a composition with what is left without it; of a single one plain fine-tuning is.

    Plain fine-tuning as a part changes nothing, so it is not taken out. Whether a rest may be compared with the whole
    is said by `nature`.

    Raises:
        UserError: plain fine-tuning is not installed.
    """
    return [(part, (*parts[:place], *parts[place + 1 :]) or parse_strategy("finetune", registry))
            for place, part in enumerate(parts) if _label(part) != "finetune"]


def nature(setup: Mapping[str, Any]) -> tuple[str, bool]:
    """Return what learns, and whether it starts at random: a part may change neither to be compared by its absence.

    Without `scratch` or `prompt` a row is another method, not the same with less.

    Args:
        setup: A Setup as records hold it (`canonical.plain`).
    """
    weights = setup.get("weights", {})
    start = weights.get("start", weights)  # the start of weights that have read text
    return str(setup.get("learner", {}).get("name", "neural")), start.get("type") == "Random"


def label(parts: Sequence[Strategy]) -> str:
    """Return the short name of a composition: fields that keep their default are left out."""
    return "+".join(_label(part) for part in parts)


def _label(part: Strategy) -> str:
    default = type(part)()
    changed = [
        f"{f.name}={getattr(part, f.name)}"
        for f in fields(part)  # type: ignore[arg-type]
        if getattr(part, f.name) != getattr(default, f.name)
    ]
    return f"{part.name}({','.join(changed)})" if changed else part.name


def strategy_ref(parts: Sequence[Strategy], registry: Registry) -> StrategyRef:
    """Return the composition as data."""
    levels: tuple[ExternalData, ...] = ("none", "unlabeled", "labeled")
    data = tuple(
        StrategyPart(part.name, part.version, settings(part), registry.origin("strategies", part.name).source)
        for part in parts
    )
    return StrategyRef(
        label(parts),
        data,
        all(part.transfers for part in parts)
        or any(part.external_data != "none" or "teacher" in part.writes for part in parts),
        max((part.external_data for part in parts), key=levels.index),
    )


def resolve(parts: Sequence[Strategy], offer: Offer, model: Architecture | None) -> Setup:
    """Return the Setup of a composition: the default one, changed by each strategy in turn."""
    setup = setup_of(offer.kind, model, offer.budget)
    for part in parts:
        setup = part.prepare(setup, offer)
    # What trains no network has no recipe: an edit of the recipes must not change its keys.
    return setup if setup.learner.name == "neural" else replace(setup, phases=())


def idle(setup: Setup, kind: str) -> str | None:
    """Return why a Setup would do nothing of what it says, or `None`.

    Where a model generates text, its decoder moves even if the encoder is frozen, and so do the streams that use it.
    """
    generates = kind == "text-generation"
    rated = [phase for phase in setup.phases if phase.recipe.layer_decay != 1.0]
    if rated and not generates and all(phase.trainable == "head" for phase in rated):
        return "a frozen trunk has no layers whose rates could differ"
    mixed = [(phase, phase.mixture) for phase in setup.phases if phase.mixture]
    moving = [phase.trainable != "head" or (generates and any(map(_generates, mixture.streams)))
              for phase, mixture in mixed]
    if mixed and not any(moving):
        return "a frozen trunk learns nothing from what is learned beside the target"
    return None


def _generates(beside: Stream | TextStream) -> bool:
    return isinstance(beside, TextStream) or beside.task.kind == "text-generation"


def unsupported(parts: Sequence[Strategy], offer: Offer) -> str | None:
    """Return why the combination has no meaning, or `None`."""
    if offer.family == "encoder" and offer.kind == "text-generation":
        return "an encoder alone cannot generate text"
    reasons = (part.unsupported(offer) for part in parts)
    return next((reason for reason in reasons if reason), None)
