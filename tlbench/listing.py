"""What `tlbench list` prints: rows of plain values, computed from the plugins, without torch or data."""

from __future__ import annotations

from typing import Any, get_args

from tlbench.registry import Registry
from tlbench.setups import Family
from tlbench.strategy import Offer, Strategy
from tlbench.task import KINDS
from tlbench.toys import TEMPLATES, reading, sources, teachers


def rows(registry: Registry, what: str) -> list[dict[str, Any]]:
    """Return one row per task, strategy or model."""
    if what == "tasks":
        return [{"task": t.name, "version": t.version, "kind": t.kind, "suite": t.suite,
                 "languages": ",".join(t.languages), "budget": t.default_budget, "licence": t.licence,
                 "summary": t.summary} for t in registry.tasks.values()]
    if what == "strategies":
        return [{"strategy": s.name, "version": s.version, "transfers": "yes" if s.transfers else "no (baseline)",
                 "outside data": s.external_data, "sets": ",".join(sorted(s.writes)) or "-", "summary": s.summary}
                for s in registry.strategies.values()]
    return [{"model": m.name, "reference": m.reference, "default for": ",".join(m.kinds) or "-", "note": m.note}
            for m in registry.models.values()]


def matrix_rows(registry: Registry) -> list[dict[str, Any]]:
    """Return which kinds each strategy supports, by family: e(ncoder), d(ecoder), s(equence to sequence).

    For strategies that prompt: where the task has a template.
    """
    from tlbench.specs import unsupported

    def refuses(strategy: Strategy, offer: Offer) -> bool:
        try:
            return bool(unsupported([strategy], offer))
        except Exception:  # a faulty plugin supports nothing, and hides no other; `tlbench check` says more
            return True

    letters = dict(zip(get_args(Family), "eds", strict=True))
    table = []
    for cls in registry.strategies.values():
        strategy = cls()
        row = {"strategy": cls.name}
        for kind in KINDS:
            if not cls.uses_model:
                offer = Offer(kind, "", None, 300, TEMPLATES[kind], corpora={"toy": {}})
                row[kind] = "-" if refuses(strategy, offer) else "yes"
                continue
            row[kind] = "".join(letter for family, letter in letters.items()
                                if not refuses(strategy, _offer(kind, family))) or "-"
        table.append(row)
    return table


def _offer(kind: str, family: Family) -> Offer:
    """Return the offer of a kind and family in which nothing is missing that a strategy may need."""
    return Offer(
        kind, "", family, 300, TEMPLATES[kind], sources("bert"), teachers(kind, "bert"), {"toy": {}},
        reading(family, "bert"),
    )
