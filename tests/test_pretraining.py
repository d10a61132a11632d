"""`tlbench pretrain` from flags to a model that the grid takes; killed, resumed, misused."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from tlbench import cli
from tlbench.engine.pretraining.card import render

ROOT = Path(__file__).resolve().parent.parent
FAMILIES = ["encoder", "decoder", "encoder-decoder"]
SMALL = ["--layers", 2, "--width", 32, "--vocabulary", 400, "--batch", 4, "--length", 48]
Command = Callable[..., tuple[int, str]]


@pytest.fixture
def tlbench(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Command:
    """Return a function that runs the command line here and gives its exit code and what it said."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TLBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    def run(*arguments: object) -> tuple[int, str]:
        monkeypatch.setattr("sys.argv", ["tlbench", *map(str, arguments)])
        capsys.readouterr()
        try:
            cli.main()
        except SystemExit as end:
            return int(end.code or 0), capsys.readouterr().err
        return 0, capsys.readouterr().err

    return run


@pytest.fixture
def text(tmp_path: Path, toys: ModuleType) -> Path:
    """Return a text file of toy sentences, one paragraph each."""
    path = tmp_path / "text.txt"
    texts = [example.text for example in toys.examples("toy-topic", 300, "unlabelled")]
    path.write_text("\n\n".join(texts), encoding="utf-8")
    return path


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("family", FAMILIES)
def test_model_from_text_files_runs_through_the_grid(
    family: str, tlbench: Command, text: Path, toys: ModuleType, tmp_path: Path
) -> None:
    given = ("pretrain", "--text", text, "--family", family, *SMALL, "--tokens", 2000, "--out", "my-model")
    code, said = tlbench(*given)
    assert code == 0, said
    before = sha256(tmp_path / "my-model" / "README.md")
    code, said = tlbench(*given)
    assert (code, said.count("\n")) == (0, 1), said
    assert sha256(tmp_path / "my-model" / "README.md") == before
    task = "toy-copy" if family == "encoder-decoder" else "toy-topic"
    code, said = tlbench(
        "run", "--plugin", toys.__file__, "--tasks", task, "--models", "./my-model", "--strategies",
        "finetune+short", "--replicates", 1, "--offline", "--out", "run")
    assert code == 0, said
    assert "1 cells run" in said
    (record,) = (json.loads(path.read_text()) for path in (tmp_path / "run" / "records").glob("*.json"))
    assert record["status"] in ("ok", "collapsed")  # after ten steps it may well say the same of every text
    assert record["training"]["steps"] > 0
    assert record["model"]["name"] == "my-model"
    assert record["model"]["family"] == family


def test_card_tells_the_truth(tlbench: Command, text: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    code, said = tlbench("pretrain", "--text", text, *SMALL, "--tokens", 5000, "--out", "model", "--seed", 3,
                         "--precision", "fp32")  # in bf16 the loss depends on the attention kernel
    assert code == 0, said
    folder = tmp_path / "model"
    facts = json.loads((folder / "pretraining.json").read_text(encoding="utf-8"))
    assert (folder / "README.md").read_text(encoding="utf-8") == render("model", facts)
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert facts["weights_sha256"] == sha256(folder / "model.safetensors")
    assert facts["weights_sha256"] in card
    assert facts["corpus"]["provenance"]["files"] == [{"file": "text.txt", "sha256": sha256(text)}]
    assert facts["steps"] == math.ceil(5000 / (4 * 48)) == facts["curve"][-1]["step"]
    assert facts["tokens"] == facts["steps"] * 4 * 48
    assert facts["corpus"]["documents"] + facts["corpus"]["held_out_documents"] == 300
    model = AutoModelForSeq2SeqLM.from_pretrained(folder, dtype=torch.float32)
    stored = AutoModelForSeq2SeqLM.from_pretrained(folder, dtype="auto")
    assert (stored.dtype, facts["dtype"]) == (torch.bfloat16, "bfloat16")
    assert sum(p.numel() for p in model.parameters()) == facts["parameters"]
    assert model.config.dropout_rate == 0.1
    assert held_out_loss(model, AutoTokenizer.from_pretrained(folder), text, facts) == pytest.approx(facts["held_out"])
    assert f"**{facts['held_out']:.3f}**" in card
    assert 0 < facts["peak_share"] < 1.5
    assert facts["trigram"] < facts["unigram"]
    assert facts["recipe"]["seed"] == 3
    assert (folder / "model.safetensors").stat().st_mode & 0o044 == 0o044


def test_folder_declares_what_it_and_its_start_have_read(
    tlbench: Command, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tlbench.corpora import documents
    from tlbench.references import model_named
    from tlbench.registry import load

    def embedded(source: object) -> documents.Documents:
        found = documents.from_files([text])
        return documents.Documents(found.texts, provenance={"apidoc": {}, "ui-strings": {}})

    monkeypatch.setattr(documents, "embedded", embedded)
    small = ("--batch", 4, "--length", 48, "--tokens", 400)
    orders = {"first": ("--family", "encoder", *SMALL, "--tokens", 400), "second": ("--model", "./first", *small),
              "own": ("--model", "./first", "--text", text, *small),
              "twin": ("--model", "./first", "--random", "--text", text, *small)}
    for out, given in orders.items():
        code, said = tlbench("pretrain", *given, "--out", out)
        assert code == 0, said
    sides = ("apidoc-training-side", "ui-strings-training-side")
    read = {out: model_named(str(tmp_path / out), load()).training_sources for out in orders}
    assert read == {"first": sides, "second": sides, "own": (*sides, "unknown"), "twin": ()}
    facts = json.loads((tmp_path / "own" / "pretraining.json").read_text(encoding="utf-8"))
    assert facts["start"]["training_sources"] == list(sides)


def held_out_loss(model: Any, tokenizer: Any, text: Path, facts: dict[str, Any]) -> float:
    """Compute the card's loss anew, from the stored files and the text."""
    from tlbench.corpora.documents import from_files
    from tlbench.engine.place import Place
    from tlbench.engine.pretraining.held_out import HeldOut
    from tlbench.engine.pretraining.objectives import Student, objective_for
    from tlbench.engine.pretraining.packing import tokenize
    from tlbench.engine.pretraining.vocabulary import symbols_of
    from tlbench.setups import Pretraining

    recipe = Pretraining(**{**facts["recipe"], "betas": tuple(facts["recipe"]["betas"])})
    symbols = symbols_of(tokenizer, model.config.decoder_start_token_id)
    student = Student(model, objective_for(recipe, "encoder-decoder", symbols), "fp32")
    measured = from_files([text]).divide()[1]
    return HeldOut(tokenize(measured, tokenizer), student, recipe).loss(student, Place())


def test_flops_of_a_step_are_those_of_its_matrix_products(tmp_path: Path) -> None:
    from tlbench.corpora.documents import documents_of
    from tlbench.engine.place import Place
    from tlbench.engine.pretraining.rate import gemm_peak, step_flops
    from tlbench.engine.pretraining.training import Bench, Job, pretrain
    from tlbench.setups import Pretraining, Shape

    texts = [f"text number {number} reads the table of {number % 7} keys" for number in range(100)]
    job = Job(documents_of(texts), Shape("decoder", 2, 32, 300, 1), Pretraining("causal", 3 * 33, batch=3, length=33))
    run = pretrain(job, Bench(Place(), "fp32", tmp_path)).run
    size = len(run.student.model.get_input_embeddings().weight)
    forward = 2 * 32 * (2 * (12 * 32 * 32) + size * 32) + 2 * 2 * 2 * 32 * 32 * 32
    assert step_flops(run) == 3 * 3 * forward
    assert gemm_peak(Place(), "fp32") > 1e8


def test_column_of_a_data_file_and_float32(tlbench: Command, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    rows = [{"body": f"row {number} of the table has {number % 9} keys"} for number in range(80)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    code, said = tlbench("pretrain", "--data", "rows.jsonl", "--column", "body", "--family", "decoder", *SMALL,
                         "--tokens", 400, "--dtype", "float32", "--out", "model")
    assert code == 0, said
    assert {tensor.dtype for tensor in load_file(tmp_path / "model" / "model.safetensors").values()} == {torch.float32}
    on = ("pretrain", "--data", "rows.jsonl", "--column", "body", "--model", "./model", "--batch", 4, "--length", 48,
          "--tokens", 400)
    for more in ((), ("--random",)):
        code, said = tlbench(*on, *more, "--out", "next" + "-".join(more))
        assert code == 0, said
    code, said = tlbench(*on, "--out", "model")
    assert code == 0, said  # tlbench made it, so it may be replaced
    assert "the weights of model" in (tmp_path / "model" / "README.md").read_text(encoding="utf-8")


def test_foreign_folder_is_never_overwritten(tlbench: Command, text: Path, tmp_path: Path) -> None:
    for name in ("model", "facts", "odd"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "thesis.txt").write_text("years of work", encoding="utf-8")
    (tmp_path / "facts" / "pretraining.json").write_text('{"key": "1", "weights_sha256": "2"}', encoding="utf-8")
    (tmp_path / "odd" / "thesis.txt").rename(tmp_path / "odd" / "README.md")
    (tmp_path / "odd" / "pretraining.json").write_text('{"lr": 1}', encoding="utf-8")
    (tmp_path / "file").write_text("a file", encoding="utf-8")
    for out, why in (("model", "holds 'thesis.txt'"), ("facts", "holds 'thesis.txt'"), ("odd", "was not made by it"),
                     ("file", "was not made by it")):
        code, said = tlbench("pretrain", "--text", text, *SMALL, "--tokens", 400, "--out", out)
        assert code == 2
        assert f"error: '{tmp_path / out}' is left alone" in said
        assert why in said
    for kept in ("model/thesis.txt", "facts/thesis.txt", "odd/README.md"):
        assert (tmp_path / kept).read_text(encoding="utf-8") == "years of work"


def test_work_put_into_a_model_folder_is_kept(
    tlbench: Command, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tlbench.engine.pretraining import result

    made = ("pretrain", "--text", text, *SMALL, "--tokens", 400)
    assert tlbench(*made, "--out", "model")[0] == 0
    (tmp_path / "model" / "notes").mkdir()
    code, said = tlbench(*made, "--seed", 1, "--out", "model")
    assert code == 2
    assert "holds 'notes', which it did not make" in said
    pretrain = result.pretrain

    def with_company(*given: Any) -> Any:
        done = pretrain(*given)
        (tmp_path / "later").mkdir()
        (tmp_path / "later" / "thesis.txt").write_text("years of work", encoding="utf-8")
        return done

    monkeypatch.setattr(result, "pretrain", with_company)
    code, said = tlbench(*made, "--seed", 2, "--out", "later")
    assert code == 2
    assert "holds 'thesis.txt'" in said


def test_a_model_without_its_weights_is_made_again(tlbench: Command, text: Path, tmp_path: Path) -> None:
    made = ("pretrain", "--text", text, *SMALL, "--tokens", 400, "--out", "model")
    assert tlbench(*made)[0] == 0
    weights = tmp_path / "model" / "model.safetensors"
    first = weights.read_bytes()
    weights.write_bytes(first[:-1])
    assert tlbench(*made)[0] == 0
    assert weights.read_bytes() == first
    code, said = tlbench(*made)
    assert (code, said.count("\n")) == (0, 1), said  # found, not made


def test_output_is_tried_before_anything_is_read(
    tlbench: Command, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = ("pretrain", "--text", text, *SMALL, "--tokens", 400)
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for out, expected in ((".", "--out is the folder that you are in"), ("text.txt/model", "cannot be made"),
                          ("loop", "cannot be made"), ("/proc", "a mount point")):
        code, said = tlbench(*made, "--out", out)
        assert code == 2
        assert expected in said
        assert "documents" not in said
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "disk")
    assert tlbench(*made, "--out", "link")[0] == 0
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "disk" / "model.safetensors").is_file()


def test_full_disk_under_the_model_keeps_the_training(
    tlbench: Command, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safetensors import SafetensorError

    from tlbench.engine.pretraining import result, start

    made = ("pretrain", "--text", text, *SMALL, "--tokens", 400, "--out", "model")

    class Full:
        def save_pretrained(self, folder: Path) -> None:
            raise Exception("No space left on device (os error 28)")

    with monkeypatch.context() as patched:
        patched.setattr(start, "train_tokenizer", lambda *given: Full())
        code, said = tlbench(*made)
    assert code == 2
    assert "the work folder" in said
    assert "No space left on device (os error 28)): free some space" in said

    def no_space(*given: Any) -> None:
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    with monkeypatch.context() as patched:
        patched.setattr(result, "replace_folder", no_space)
        code, said = tlbench(*made)
    assert code == 2
    assert "cannot be written to (I/O error: No space left on device (os error 28)): free some space" in said
    code, said = tlbench(*made)
    assert code == 0, said
    assert "from step 3" in said  # nothing was trained again


def test_text_beside_a_model_or_hidden_is_not_read(tlbench: Command, text: Path, tmp_path: Path) -> None:
    (tmp_path / "docs" / ".git").mkdir(parents=True)
    (tmp_path / "docs" / ".git" / "notes.txt").write_text("not for reading", encoding="utf-8")
    text.rename(tmp_path / "docs" / "text.txt")
    made = ("pretrain", "--text", "docs", *SMALL, "--tokens", 400, "--out", "docs/model")
    assert tlbench(*made)[0] == 0
    facts = json.loads((tmp_path / "docs" / "model" / "pretraining.json").read_text(encoding="utf-8"))
    assert [file["file"] for file in facts["corpus"]["provenance"]["files"]] == ["text.txt"]
    code, said = tlbench(*made)
    assert (code, said.count("\n")) == (0, 1), said  # its own card did not change the corpus


def test_second_process_says_that_it_waits(tmp_path: Path) -> None:
    from threading import Thread

    from tlbench.files import held

    said: list[str] = []

    def second() -> None:
        with held(tmp_path / "lock", lambda: said.append("waiting")):
            said.append("in")

    with held(tmp_path / "lock", lambda: said.append("first waits")):
        thread = Thread(target=second)
        thread.start()
        for _ in range(1000):
            if said:
                break
            time.sleep(0.01)
        assert said == ["waiting"]
    thread.join()
    assert said == ["waiting", "in"]


@pytest.mark.parametrize(("given", "expected"), [
    (["--text", "absent.txt"], "the text file 'absent.txt' does not exist"),
    (["--text", "empty.txt"], "the corpus holds 0 documents"),
    (["--text", "latin.txt"], "'latin.txt' is not UTF-8 at byte 3"),
    (["--data", "rows.csv", "--column", "txet"], "has no column 'txet': did you mean 'text'? (--text"),
    (["--data", "absent.csv"], "'absent.csv' does not exist"),
    (["--tokens", "100"], "the budget of 100 tokens is less than one step"),
    (["--objective", "causal"], "objective 'causal' is not one for the family 'encoder-decoder'"),
    (["--vocabulary", "10"], "a vocabulary of 10 is too small"),
    (["--width", "33", "--layers", "0"], "0 layers of width 33"),
    (["--minutes", "-1"], "--minutes is -1"),
    (["--minutes", "inf"], "--minutes is inf"),
    (["--noise", "2"], "the recipe is impossible"),
    (["--seed", "-1"], "--seed is -1"),
    (["--span", "nan"], "the span of nan tokens"),
    (["--step-size", "inf"], "the step size inf must be finite"),
    (["--text", "null.txt"], "'null.txt' holds a null byte"),
    (["--data", "absent"], "the data file 'absent' does not exist"),
    (["--model", "./picture", "--random"], "an untrained 'picture' cannot be built"),
    (["--model", "./absent"], "model folder './absent' does not exist"),
    (["--model", "minilm-x"], "model 'minilm-x' is not known"),
    (["--model", "minilm", "--layers", "3"], "--model was given beside --layers"),
    (["--random"], "--random was given without --model"),
    (["--data", "rows.csv", "--text", "text.txt"], "--text and --data were both given"),
])
def test_bad_input_is_one_sentence(
    given: list[str], expected: str, tlbench: Command, text: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty.txt").write_text("\n\n", encoding="utf-8")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    (tmp_path / "null.txt").write_bytes(b"text\0text")
    (tmp_path / "picture").mkdir()
    (tmp_path / "picture" / "config.json").write_text('{"model_type": "vit"}', encoding="utf-8")
    (tmp_path / "rows.csv").write_text("text,label\na,b\n", encoding="utf-8")
    source = [] if given[0] in ("--text", "--data") else ["--text", text]
    code, said = tlbench("pretrain", "--out", "model", *source, *given)
    assert code == 2
    assert "Traceback" not in said
    assert [line for line in said.splitlines() if line.startswith("error: ") and expected in line], said
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("given", [["--objective", "denoise"], ["--family", "rnn"], ["--text"], ["--tokens", "many"]])
def test_unknown_choices_are_usage_errors(given: list[str], tlbench: Command) -> None:
    code, said = tlbench("pretrain", "--out", "model", *given)
    assert code == 2
    assert "Traceback" not in said


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # torch.compile's own imports
@pytest.mark.filterwarnings("ignore:dynamo_pgo force disabled:UserWarning")  # since caches are off here
def test_compile_without_a_compiler_is_one_sentence(
    tlbench: Command, text: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torch._inductor import config, cpp_builder

    monkeypatch.setattr(config.cpp, "cxx", (None, "/absent/g++"))
    monkeypatch.setattr(config, "force_disable_caches", True)
    cpp_builder.cpp_compiler_search.cache_clear()
    code, said = tlbench("pretrain", "--text", text, *SMALL, "--tokens", 2000, "--out", "model", "--compile")
    cpp_builder.cpp_compiler_search.cache_clear()
    assert code == 2
    (line,) = [line for line in said.splitlines() if line.startswith("error: ")]
    assert line.startswith("error: --compile failed (InvalidCxxCompiler: ")
    assert line.endswith("it needs a working C++ compiler; leave the flag out")


KILLED_AT_STEP_60 = """
import os, signal
from tlbench.cli import main
from tlbench.engine.pretraining.run import Run

advance = Run.advance

def step(run):
    loss = advance(run)
    if run.step == 60:
        os.kill(os.getpid(), signal.SIGKILL)
    return loss

Run.advance = step
main()
"""


@pytest.mark.slow
def test_killed_command_resumes_to_the_same_bits(text: Path, tmp_path: Path) -> None:
    def run(name: str, *python: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "TLBENCH_CACHE": str(tmp_path / f"{name}-cache"), "OMP_NUM_THREADS": "1"}
        call = [sys.executable, *python, "pretrain", "--text", str(text), *map(str, SMALL), "--tokens", "40000",
                "--precision", "fp32", "--checkpoint-every", "0.01", "--out", str(tmp_path / name)]
        return subprocess.run(call, env=environment, cwd=ROOT, text=True, timeout=900, check=False, capture_output=True)

    usual = ("-m", "tlbench")
    whole = run("whole", *usual)
    assert whole.returncode == 0, whole.stderr
    killed = run("killed", "-c", KILLED_AT_STEP_60)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not (tmp_path / "killed").exists()
    again = run("killed", *usual)
    assert again.returncode == 0, again.stderr
    assert 0 < int(re.findall(r"from step (\d+)", again.stderr)[0]) <= 60
    for name in ("model.safetensors", "tokenizer.json", "config.json", "signatures.npy"):
        assert sha256(tmp_path / "whole" / name) == sha256(tmp_path / "killed" / name), name
    assert not [path.name for path in tmp_path.iterdir() if path.name.startswith(".")]
    assert not list((tmp_path / "killed-cache" / "pretraining").glob("*/checkpoint*"))


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="two ranks on a CPU")
@pytest.mark.parametrize("limit", [[], ["--minutes", "60"]], ids=["tokens", "minutes"])
def test_two_ranks_train_as_one(limit: list[str], text: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    two = ["-m", "torch.distributed.run", "--standalone", "--local-addr", "127.0.0.1", "--nproc_per_node", "2"]
    for name, launcher in (("one", []), ("two", two)):
        call = [sys.executable, *launcher, "-m", "tlbench", "pretrain", "--text", str(text), "--family", "encoder",
                "--layers", "1", "--width", "32", "--vocabulary", "400", "--batch", "5", "--length", "48", "--tokens",
                "3000", "--dtype", "float32", "--precision", "fp32", *limit, "--out", str(tmp_path / name)]
        done = subprocess.run(call, cwd=ROOT, capture_output=True, text=True, timeout=900, check=False, env={
            **os.environ, "TLBENCH_CACHE": str(tmp_path / f"{name}-cache"), "OMP_NUM_THREADS": "1"})
        assert done.returncode == 0, done.stderr[-3000:]
        assert "destroy_process_group" not in done.stderr
        assert done.stderr.count("held-out sequences") == done.stderr.count("nats (unigram") == 1
    one, other = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    assert all(torch.allclose(tensor, other[name], atol=1e-4) for name, tensor in one.items())
    facts = [json.loads((tmp_path / name / "pretraining.json").read_text()) for name in ("one", "two")]
    assert [fact["world"] for fact in facts] == [1, 2]
    for a, b in zip(facts[0]["curve"], facts[1]["curve"], strict=True):
        assert (a["loss"], a["held_out"]) == pytest.approx((b["loss"], b["held_out"]), abs=1e-3)
    assert np.load(tmp_path / "two" / "signatures.npy").dtype == np.uint64
