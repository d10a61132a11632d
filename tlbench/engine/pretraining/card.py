"""The model card: what was read, how it was trained, how good it is, what it cost; written from the facts alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

Facts = Mapping[str, Any]
_HOW = {
    "span-corruption": "Span corruption ({noise:.0%} of the tokens, mean span {span:g})",
    "masked": "Masked language modelling ({noise:.0%} of the tokens: 80 % mask, 10 % random, 10 % kept; new masks in "
              "every epoch)",
    "causal": "Causal language modelling",
}
_PIPELINES = {"encoder": "fill-mask", "decoder": "text-generation", "encoder-decoder": "text2text-generation"}


def render(name: str, facts: Facts) -> str:
    """Return the card of a model as markdown with a YAML header.

    Args:
        name: Name of the model.
        facts: The content of its `pretraining.json`.
    """
    return "\n\n".join([_header(facts), f"# {name}", _opening(facts), *_read(facts), *_recipe(facts), *_losses(facts),
                        *_cost(facts)]) + "\n"


def _header(facts: Facts) -> str:
    languages = facts["corpus"]["languages"]
    lines = ["---", *([f"language: [{', '.join(languages)}]"] if languages else []),
             f"pipeline_tag: {_PIPELINES[facts['family']]}", f"tags: [{facts['recipe']['objective']}, tlbench]", "---"]
    return "\n".join(lines)


def _opening(facts: Facts) -> str:
    start = facts["start"]
    origin = f"the weights of {start['name']}" if "model" in start else "random weights"
    if "untrained" in start:
        origin += f" in the architecture of {start['name']}"
    return (f"A model of the family {facts['family']} ({facts['parameters'] / 1e6:.2f} M parameters), pre-trained from "
            f"{origin} by `tlbench pretrain` {facts['versions']['tlbench']}. Weights are stored in {facts['dtype']}; "
            f"load them in float32 to train. SHA-256 of `model.safetensors`: `{facts['weights_sha256']}`.")


def _read(facts: Facts) -> list[str]:
    corpus = facts["corpus"]
    repeated = (f" The scarce documents are read {corpus['repeats']} times per epoch, to make up at least "
                f"{corpus['share']:.0%} of the tokens." if corpus["repeats"] > 1 else "")
    return [
        "## What it has read",
        f"{corpus['documents']:,} documents, {corpus['epoch_tokens']:,} tokens per epoch, {facts['epochs']:.2f} "
        f"epochs; {corpus['held_out_documents']:,} further documents (chosen by hash) were held out.{repeated} "
        f"{corpus['note']}".strip(),
        f"Licence of the text: {corpus['licence']}. Fingerprint of the documents: `{corpus['fingerprint']}`. "
        "`signatures.npy` holds one in 16 of the hashes of the training documents' 8-grams of words "
        "(`tlbench.corpora.signatures`).",
        _json(corpus["provenance"]),
    ]


def _recipe(facts: Facts) -> list[str]:
    recipe = facts["recipe"]
    optimizer = ("AdamW with each step scaled by the tensor's root mean square"
                 if recipe["optimizer"] == "rms-adamw" else "AdamW")
    ended = " or of the time, whichever is more" if recipe["minutes"] else ""
    return [
        "## Recipe",
        f"{_HOW[recipe['objective']].format(**recipe)} on packed sequences of {recipe['length']} tokens, batch "
        f"{recipe['batch']}, {facts['steps']:,} steps, **{facts['tokens'] / 1e6:.2f} M tokens**. {optimizer}, betas "
        f"{tuple(recipe['betas'])}, step size {recipe['step_size']:g}, warm-up {recipe['warmup']:.0%}, then a cosine "
        f"to 0 as a function of the share of the token budget{ended} that is spent; gradient norm clipped at "
        f"{recipe['clip']:g}, weight decay {recipe['weight_decay']:g}, dropout 0, {facts['precision']} products on "
        f"float32 weights, seed {recipe['seed']}.",
        _json({"recipe": recipe, "start": facts["start"]}),
    ]


def _losses(facts: Facts) -> list[str]:
    rows = "".join(f"\n| {p['step']} | {p['tokens'] / 1e6:.2f} | {p['seconds'] / 60:.1f} | {p['loss']:.3f} | "
                   f"{p['held_out']:.3f} |" for p in facts["curve"])
    second, third = facts["trigram_constants"]
    spans = facts["recipe"]["objective"] == "span-corruption"
    easy = ", sentinels and ends, which are easy, among the targets" if spans else ""
    without = " (sentinels left out)" if spans else ""
    return [
        "## Held-out loss",
        f"Mean loss in nats over {facts['held_out_targets']:,} held-out targets{without}, of the weights as stored: "
        f"**{facts['held_out']:.3f}**. The same targets cost a unigram model **{facts['unigram']:.3f}** and an "
        f"interpolated trigram **{facts['trigram']:.3f}**. The trigram sees the two true tokens on the left, "
        f"masked or not, and nothing on the right; Dirichlet priors of strength {second:g} (bigram) and {third:g} "
        "(trigram), chosen on the last tenth of the training documents.",
        "In the table all rows but the last are on the first 128 held-out sequences; `loss` is the mean training loss "
        f"per target since the row before{easy}.",
        f"| step | M tokens | minutes | loss | held-out |\n|---:|---:|---:|---:|---:|{rows}",
    ]


def _cost(facts: Facts) -> list[str]:
    shared = " Other work ran beside it now and then, so times and rates are bounds." if facts["contended"] else ""
    return [
        "## Cost",
        f"{facts['seconds'] / 60:.1f} minutes in optimizer steps, {facts['tokens_per_second']:,.0f} tokens/s, on "
        f"{facts['hardware']} with {facts['threads']} threads and {facts['world']} processes"
        f"{', steps fused by torch.compile' if facts['compiled'] else ''}. Useful rate "
        f"{facts['flops_per_second'] / 1e9:,.1f} GFLOP/s (matrix products, forward and backward), "
        f"{facts['peak_share']:.0%} of the {facts['gemm_peak'] / 1e9:,.1f} GFLOP/s that a large matrix product in the "
        f"same precision reached with the same threads at the end of the run.{shared} torch "
        f"{facts['versions']['torch']}, transformers {facts['versions']['transformers']}.",
    ]


def _json(value: Any) -> str:
    return f"```json\n{json.dumps(value, indent=2, ensure_ascii=False)}\n```"
