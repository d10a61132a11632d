"""The result: a `save_pretrained` folder with tokenizer, signatures, facts and card, written whole or not at all."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError

from tlbench import __version__
from tlbench.canonical import digest
from tlbench.corpora.documents import FACTS
from tlbench.corpora.signatures import signatures
from tlbench.engine.families import Source
from tlbench.engine.measure import hardware
from tlbench.engine.pretraining.card import render
from tlbench.engine.pretraining.rate import gemm_peak, step_flops
from tlbench.engine.pretraining.start import Start, identity_of, save_tokenizer, source_of
from tlbench.engine.pretraining.training import Bench, Job, Trained, pretrain
from tlbench.errors import UserError
from tlbench.files import file_sha256, held
from tlbench.setups import Shape
from tlbench.stages.store import replace_folder

_WEIGHTS = "model.safetensors"
_NAMES = {
    FACTS, _WEIGHTS, "README.md", "config.json", "generation_config.json", "signatures.npy", "tokenizer.json",
    "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.txt", "vocab.json", "merges.txt",
    "spiece.model", "sentencepiece.bpe.model", "tokenizer.model", "chat_template.jinja",
}
"""All that a model's folder may hold to be replaced."""


def make_model(job: Job, bench: Bench, out: Path) -> Mapping[str, Any]:
    """Pre-train a model into a folder, unless the folder holds this very one already; return its facts.

    A run that was stopped goes on from its checkpoint. Two processes that want the same model wait for each other.

    Args:
        job: What is asked for.
        bench: What it runs on.
        out: Folder of the model; replaced if tlbench made it.

    Raises:
        UserError: `out` holds something that tlbench did not make, or cannot be written to, or as `pretrain`.
    """
    key = digest(job.made_from(bench.precision), 40)
    place = bench.place
    place.in_step(lambda: check_output(out))
    with ExitStack() as stack:
        place.in_step(lambda: _alone(job, bench, stack))
        found: Mapping[str, Any] | None = place.from_first(_finished(out, key))
        if found is None:
            _make(job, bench, out, key)
        place.barrier()
    return found or read_facts(out)


def _alone(job: Job, bench: Bench, stack: ExitStack) -> None:
    """Keep other processes of this machine from making the same model until the stack is left; make the work folder.

    A process that is alone waits for another one; among several ranks, which would wait in a collective, none does.

    Raises:
        UserError: the work folder cannot be written to, or several ranks meet another run.
    """
    if bench.place.rank:
        return
    work = bench.work(job)
    try:
        stack.enter_context(held(work.with_suffix(".lock"), lambda: _waiting(bench)))
        work.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"the work folder {str(work)!r} cannot be written to ({error.strerror or error}): free some "
                        "space or set TLBENCH_CACHE") from error
    stack.callback(_drop_if_empty, work)


def _waiting(bench: Bench) -> None:
    if bench.place.world > 1:
        raise UserError("another process makes this very model: wait until it has ended")
    bench.say("another process makes this very model: waiting for it")


def _drop_if_empty(folder: Path) -> None:
    with suppress(OSError):
        folder.rmdir()


def read_facts(folder: Path) -> dict[str, Any]:
    """Return the facts of a model that tlbench pre-trained.

    Raises:
        UserError: the folder holds none, or damaged ones.
    """
    try:
        facts: dict[str, Any] = dict(json.loads((folder / FACTS).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{str(folder)!r} holds no readable {FACTS}: give a folder made by tlbench pretrain") from error
    return facts


def check_output(out: Path) -> None:
    """Refuse a place that holds something tlbench did not make.

    Raises:
        UserError: there is such a file or folder, or the facts in it are damaged.
    """
    try:
        inside = sorted(out.iterdir()) if out.is_dir() else []
    except OSError as error:
        raise UserError(f"{str(out)!r} cannot be read ({error.strerror}): give another --out") from error
    if not out.exists() or (out.is_dir() and not inside):
        return
    strange = [path.name for path in inside if path.name not in _NAMES or path.is_dir()]
    if (out / FACTS).is_file() and not strange and {"key", "weights_sha256"} <= read_facts(out).keys():
        return
    why = f"holds {strange[0]!r}, which it did not make" if strange else "was not made by it"
    raise UserError(f"{str(out)!r} is left alone, since tlbench pretrain would replace it and it {why}: give another "
                    "--out or move it away")


def _finished(out: Path, key: str) -> dict[str, Any] | None:
    """Return the facts of the wanted model if it is there, weights and all."""
    if not (out / FACTS).is_file():
        return None
    facts = read_facts(out)
    weights = out / _WEIGHTS
    whole = weights.is_file() and file_sha256(weights) == facts.get("weights_sha256")
    return facts if facts.get("key") == key and whole else None


def _make(job: Job, bench: Bench, out: Path, key: str) -> None:
    trained = pretrain(job, bench)
    facts = {"key": key, **facts_of(job, bench, trained)}
    bench.place.in_step(lambda: _write(job, bench, out, trained, facts) if bench.place.rank == 0 else None)


def _write(job: Job, bench: Bench, out: Path, trained: Trained, facts: dict[str, Any]) -> None:
    check_output(out)  # again, hours later
    try:
        replace_folder(out, facts["key"][:8], _writer(out.name, job, trained, facts))
    except (OSError, SafetensorError) as error:
        raise UserError(f"{str(out)!r} cannot be written to ({getattr(error, 'strerror', None) or error}): free some "
                        "space, mend its permissions or give another --out, and the same command for the rest: the "
                        "training is kept") from error
    shutil.rmtree(bench.work(job), ignore_errors=True)


def facts_of(job: Job, bench: Bench, trained: Trained) -> dict[str, Any]:
    """Return all that is to be said about a trained model but the hash of its file; every rank takes part.

    Rounds the weights to the precision in which they are stored: what is measured is what is written.
    """
    run, held_out, place = trained.run, trained.held_out, bench.place
    dtype = torch.bfloat16 if job.dtype == "bfloat16" else torch.float32
    model = run.student.model.to(dtype).to(torch.float32)
    loss = held_out.loss(run.student, place)
    baselines = held_out.baselines(trained.tokens, len(trained.learner.tokenizer))
    flops = step_flops(run) * run.step
    rate, peak = flops / run.seconds, gemm_peak(place, bench.precision) * place.world
    return {
        "family": trained.learner.family,
        "start": _start(job.start),
        "recipe": asdict(job.recipe),
        "corpus": _corpus(job, trained),
        "parameters": sum(p.numel() for p in model.parameters()),
        "steps": run.step, "tokens": run.tokens, "epochs": run.tokens / trained.tokens.epoch,
        "seconds": round(run.seconds, 2), "tokens_per_second": run.tokens / run.seconds,
        "held_out": loss, "held_out_targets": held_out.targets,
        "unigram": baselines.unigram, "trigram": baselines.trigram, "trigram_constants": list(baselines.strengths),
        "loss": run.curve[-1]["loss"], "curve": run.curve,
        "flops": float(flops), "flops_per_second": rate, "gemm_peak": peak, "peak_share": rate / peak,
        "hardware": hardware(), "threads": torch.get_num_threads(), "world": place.world,
        "contended": run.contended, "precision": bench.precision, "dtype": job.dtype,
        "compiled": job.compiled,
        "versions": {"tlbench": __version__, **{name: metadata.version(name)
                                                for name in ("tokenizers", "torch", "transformers")}},
    }


def _start(start: Start) -> dict[str, Any]:
    """Return where the training began; of weights also what they have read, as far as their model declares it."""
    name = "" if isinstance(start, Shape) else source_of(start).model.name
    read = {"training_sources": list(start.model.training_sources)} if isinstance(start, Source) else {}
    return {"name": name, **identity_of(start), **read}


def _corpus(job: Job, trained: Trained) -> dict[str, Any]:
    documents = job.documents
    return {
        "fingerprint": documents.fingerprint, "provenance": dict(documents.provenance), "licence": documents.licence,
        "languages": list(documents.languages), "note": documents.note, "documents": len(trained.tokens.starts) - 1,
        "held_out_documents": trained.held_out.documents, "epoch_tokens": trained.tokens.epoch,
        "repeats": trained.tokens.repeats, "share": documents.share,
    }


def _writer(name: str, job: Job, trained: Trained, facts: dict[str, Any]) -> Callable[[Path], None]:
    """Return what fills a folder with the model; the stored weights are exact in the given precision."""
    def write(folder: Path) -> None:
        model: Any = trained.run.student.model
        model.to(torch.bfloat16 if job.dtype == "bfloat16" else torch.float32).save_pretrained(folder)
        (folder / _WEIGHTS).chmod(0o644)
        save_tokenizer(trained.learner.tokenizer, folder)
        np.save(folder / "signatures.npy", signatures((*trained.training.texts, *trained.training.scarce)))
        whole = {**facts, "weights_sha256": file_sha256(folder / _WEIGHTS)}
        (folder / FACTS).write_text(json.dumps(whole, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        (folder / "README.md").write_text(render(name, whole), encoding="utf-8")

    return write
