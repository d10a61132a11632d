"""What a reader must know beside the numbers: per row, per table, and about the statistics."""

from __future__ import annotations

from tlbench.boards import text
from tlbench.boards.facts import Delta
from tlbench.boards.values import Board, Row, Table
from tlbench.verdicts import REPLICATES


def row_notes(row: Row) -> list[str]:
    """Return the caveats of one row, each a sentence that names it."""
    notes = [f"{row.label}, Δ {delta.kind}: {delta.reason}." for delta in (row.best, row.scratch)
             if delta.reason and _worth_saying(row, delta)]
    if row.below_floor:
        notes.append(f"{row.label}: **below floor**, its mean score is lower than that of the rule that "
                     "learns nothing.")
    notes += [f"{row.label}: {text.code(reason)}" for reason in row.reasons]
    notes += [f"{row.label}: the same cell was run again, {again}; shown, not "
              "averaged." for again in row.further]
    return notes


def _worth_saying(row: Row, delta: Delta) -> bool:
    """Leave out what the table already shows: it is the baseline, has no model, or has too few replicates."""
    return row.n > 0 and not (delta.reason or "").startswith(("is the ", "has no ", "fewer than "))


def table_notes(table: Table) -> list[str]:
    """Return what concerns a whole table."""
    notes = [*_capped(table), *_models(table)]
    if any(delta.too_small for row in table.rows for delta in (row.best, row.scratch)):
        notes.append(f"Test too small for EQUAL: with {table.units or table.n_test:,} "
                     f"{'groups' if table.units else 'examples'} an interval cannot fit into "
                     f"±{text.share(table.margin)} for some comparisons, so UNCLEAR there does not hint at a "
                     "difference.")
    if any(delta.too_few for row in table.rows for delta in (row.best, row.scratch)):
        notes.append("Too few replicates for EQUAL: they vary so much that for some comparisons an interval cannot fit "
                     f"into ±{text.share(table.margin)}, though the test would do; UNCLEAR there does not hint at a "
                     "difference.")
    notes += _stages(table)
    contended = [row.label for row in table.rows if row.cost.contended]
    if contended:
        notes.append(f"Times with ≤ are upper bounds, since the machine was shared while these ran: "
                     f"{', '.join(contended)}.")
    hardware = sorted({name for row in table.rows for name in row.cost.hardware})
    if len(hardware) > 1:
        notes.append(f"Time and memory come from different machines ({'; '.join(hardware)}) and cannot be "
                     "compared.")
    if not table.same_subsets:
        notes.append("Not all rows of a replicate were trained on the same examples; such pairs got no "
                     "difference.")
    return notes


def _capped(table: Table) -> list[str]:
    """Name the baselines that were still improving when their step cap ended them, and what rests on them."""
    notes = []
    for base in table.rows:
        if base.transfers or not base.capped:
            continue
        resting = [f"Δ {delta.kind} of {row.label}" for row in table.rows for delta in (row.best, row.scratch)
                   if delta.capped and delta.baseline == base.label]
        notes.append(f"{base.label}: `stop_reason=cap` in {base.capped} of {base.n} replicates, so it was "
                     "still improving when its step cap ended it; a longer run might change "
                     f"{', '.join(resting) or 'its score'}.")
    return notes


def _stages(table: Table) -> list[str]:
    """Name the rows whose replicates start from one source model or one reading of text."""
    labels = ", ".join(row.label for row in table.rows if row.shared_stage)
    return ["All replicates start from one source model, or one reading of text, in these rows, so their spread does "
            "not hold that of the draw and the reading or training (`redraw=true`, where a strategy has it: one for "
            f"each replicate): {labels}."] if labels else []


def _models(table: Table) -> list[str]:
    """Return the caveats of the models that took part, and what they declare to have seen."""
    notes: dict[str, None] = {}
    for row in table.rows:
        if row.n and row.outside.leak == "yes":
            notes[f"{text.LEAK} Model {row.model}: its declared training data include "
                  f"{', '.join(row.outside.leaked)}, a source of this task, so part of its gain may be "
                  "memory."] = None
        if row.n and row.outside.leak == "unknown":
            notes[f"{text.LEAK}? Model {row.model} does not declare all that it was trained on; it may have seen "
                  "this task."] = None
        if row.n and row.note:
            notes[f"Model {row.model}: {row.note}"] = None
    return list(notes)


def statistics_notes(board: Board) -> list[str]:
    """Return how intervals and verdicts were made and what they cannot say."""
    families = "; ".join(f"{family.size} comparisons of Δ {family.kind} at tier {family.tier}"
                         for family in board.families)
    notes = [
        "**Δ best** is against the no-transfer baseline with the best validation score that used no more unlabeled "
        "target text (the practical question); **Δ scratch** against the same architecture from random weights (the "
        "causal question). Both pair replicates and test examples.",
        "Intervals are plain 95 % two-way t intervals over replicates and test examples, not widened for many "
        "comparisons; verdicts are: HELPS and HARMS need a Holm-adjusted p below 0.05; EQUAL needs the 90 % interval "
        "inside ±e; else UNCLEAR, with the minimum detectable effect (mde) that a comparison which were the only one "
        "would find with power 80 %; in its family it needs more.",
        "The p that is adjusted is the larger of the row's own and the one that the mean variance through replicates "
        "of three or more like rows gives (same delta and model in the table, else under the same metric), since three "
        "replicates often have a small one by luck; the interval rests on the row's own.",
        f"Holm families, fixed for the whole file so that a filtered view changes no verdict: {families or 'none'}.",
    ]
    least = min((row.best.n for row in board.rows if row.best.verdict), default=0)
    if least == REPLICATES:
        notes.append(
            f"With {REPLICATES} replicates the correction leaves power only for large gains: an UNCLEAR whose plain "
            "interval excludes 0 is a hint, not a finding."
        )
    if any(row.n and row.n < REPLICATES for row in board.rows):
        notes.append(f"Below {REPLICATES} replicates there is no interval and no verdict.")
    if any(table.corpus_metric for table in board.tables):
        notes.append(
            "Corpus metrics: the part of the variance that is due to test examples comes from "
            f"{board.header.resamples:,} paired bootstraps of examples or groups, the same draws for all rows."
        )
    return [
        *notes,
        *_parts_note(board),
        "**rank** is what the data leave open: from one plus the number of rows that are better and can be told apart "
        "(Holm-adjusted p below 0.05 over all pairs of the table, or a verdict between the two) to the number of rows "
        "less those that are worse and can be. **RER** is the relative error reduction Δ/(1 - baseline). "
        "**P(improve)** is the share of replicates above the baseline, ties one half.",
        "“small”: |Δ| < e. “unstable”: more than a fifth of the replicates of the row or of its baseline collapsed. "
        f"Collapsed replicates count in every mean; failed ones cannot and make n smaller. {text.CAP}: the baseline "
        "hit its step cap (`stop_reason=cap`).",
        *_reach_note(board),
        "“No transfer” means no data from outside the cell's labels; random baselines keep their model's tokenizer.",
        _noise_floor(board),
    ]


def _reach_note(board: Board) -> list[str]:
    if not any(row.reach for row in board.rows):
        return []
    return ["**to baseline** is the training step at which a row's validation score was first seen to reach the final "
            "one of the baseline that its Δ best is against (median over the paired replicates, never counted as later "
            "than all; how many did). It is looked at five times in an ordinary fine-tuning, on the few validation "
            "labels of the budget; steps of stages before are not counted, and linear's score is the best of its five "
            "penalties on the same labels."]


def _parts_note(board: Board) -> list[str]:
    if not any(table.contributions for table in board.tables):
        return []
    return ["**Δ part** is a row against the same row without one of its strategies (plain fine-tuning, where nothing "
            "else is left); it is a Holm family of its own."]


def _noise_floor(board: Board) -> str:
    """Say how far two rows lie apart that differ in nothing but their seeds."""
    found = [
        f"{text.share(one.delta.apart)} on {table.id} ({one.delta.n} replicates)"
        for table in board.tables
        for one in table.contributions
        if one.delta.apart is not None and one.seeds_only
    ]
    if not found and board.hidden:
        return "Noise floor: see the whole board."
    if not found:
        return "Noise floor: not measured (it takes two `finetune` rows that differ in nothing but their seeds)."
    return (
        "Noise floor, the mean distance between the scores of a replicate in two `finetune` rows that differ in "
        f"nothing but their seeds: {', '.join(found)}."
    )
