"""Pre-train `tlbench-mini`, a small T5-like encoder-decoder, on the training side of the embedded corpora.

Span corruption (T5, arXiv:1910.10683) on packed sequences, AdamW with each step scaled by the tensor's root
mean square (nanoT5, arXiv:2309.02373), dropout 0, float32 weights, bfloat16 autocast where it is faster. The
data order and the masks are functions of the seed and the step, so that a killed run continues exactly from
its checkpoint:

    OMP_WAIT_POLICY=PASSIVE python scripts/pretrain_mini.py --minutes 45 --tokens 24000000

On cores that other work shares, threads that spin while they wait cost a factor of four; hence the variable.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration

import tlbench
from tlbench.engine.precision import Precision, autocast, choose

Tokens = NDArray[np.int64]

PAD, EOS, UNK = 0, 1, 2
FIRST_SENTINEL, SENTINELS = 3, 100
SPECIAL = ("<pad>", "</s>", "<unk>", *(f"<extra_id_{i}>" for i in range(SENTINELS)))
FRENCH_SHARE = 0.10
HELD_OUT = 64
"""One document in so many is kept for the held-out loss."""
BETAS, EPSILON, CLIP = (0.9, 0.99), 1e-6, 1.0
SMALLEST_SCALE = 1e-3
CARD = Path(__file__).with_name("mini_card.md")
OUTPUT = Path(__file__).parents[1] / "plugins/models/tlbench-mini"
FINE_TUNING_DROPOUT = 0.1


@dataclass(frozen=True)
class Recipe:
    """All that shapes the weights, besides the corpus and the machine.

    Attributes:
        tokens: Budget in corpus tokens, counted before corruption.
        minutes: Training time after which the schedule ends as well, or `None`. With it the schedule follows
            the larger share of the two, so that a slow machine anneals fully; such a run does not repeat bit
            for bit.
        length: Corpus tokens per sequence; 141 leave exactly 128 encoder and 29 decoder tokens.
        noise: Share of tokens masked.
        span: Mean length of a masked span in tokens.
        warmup: Share of the budget over which the step size rises linearly; a cosine brings it to 0.
    """

    tokens: int = 24_000_000
    minutes: float | None = None
    batch: int = 32
    length: int = 141
    noise: float = 0.15
    span: float = 3.0
    step_size: float = 2e-2
    warmup: float = 0.04
    vocabulary: int = 8192
    width: int = 256
    hidden: int = 704
    layers: int = 3
    heads: int = 4
    seed: int = 0


# --- text -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Texts:
    """Documents for pre-training; French ones apart, because they are repeated."""

    documents: tuple[str, ...]
    french: tuple[str, ...]


def read_corpus(source: tlbench.DataSource) -> tuple[Texts, Texts, Mapping[str, Any]]:
    """Return training texts, held-out texts (both of the training side) and the corpus's provenance.

    Interface strings of the two languages are separate documents in separate places: no pair is shown as one.
    """
    from tlbench.corpora import apidoc, interface
    from tlbench.corpora.duplicates import normalise

    pairs = interface.training_strings(source)
    forbidden = {normalise(row.text) for row in apidoc.corpus(source).test}
    texts = [text for text in apidoc.training_texts(source) if normalise(text) not in forbidden]
    english = [*texts, *(pair[0] for pair in pairs)]
    train, held_out = divide(english)
    french_train, french_held_out = divide([pair[1] for pair in pairs])
    provenance = {"apidoc": dict(apidoc.provenance(source)), "ui-strings": dict(interface.provenance(source))}
    return Texts(train, french_train), Texts(held_out, french_held_out), provenance


def write_texts(path: Path, train: Texts, held_out: Texts, provenance: Mapping[str, Any]) -> None:
    """Keep what a run reads, so that a resumed run reads the same and a leak test can look at it."""
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps([asdict(train), asdict(held_out), provenance]), encoding="utf-8")
    partial.replace(path)


def read_texts(path: Path) -> tuple[Texts, Texts, Mapping[str, Any]]:
    """Return what `write_texts` kept."""
    train, held_out, provenance = json.loads(path.read_text(encoding="utf-8"))
    parts = [Texts(tuple(part["documents"]), tuple(part["french"])) for part in (train, held_out)]
    return parts[0], parts[1], provenance


def divide(texts: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Split distinct texts by hash: a large part to train on and one in `HELD_OUT` to measure."""
    distinct = sorted({text for text in texts if text.strip()})
    held_out = {text for text in distinct if hashlib.sha256(text.encode()).digest()[0] < 256 // HELD_OUT}
    return (tuple(text for text in distinct if text not in held_out),
            tuple(text for text in distinct if text in held_out))


def repeats(part: int, rest: int, share: float) -> int:
    """Return how often a part must be read to make up a share of all; sizes in any one unit."""
    return max(1, math.ceil(share / (1 - share) * rest / part)) if part else 1


# --- tokens -----------------------------------------------------------------------------------------------


def train_tokenizer(texts: Texts, vocabulary: int) -> PreTrainedTokenizerFast:
    """Return a byte-level BPE tokenizer with T5's special tokens that ends every text with `</s>`."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.Sequence([decoders.ByteLevel(), decoders.Strip(" ", 1, 0)])
    trainer = trainers.BpeTrainer(vocab_size=vocabulary, special_tokens=list(SPECIAL), show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    times = repeats(sum(map(len, texts.french)), sum(map(len, texts.documents)), FRENCH_SHARE)
    tokenizer.train_from_iterator((*texts.documents, *(texts.french * times)), trainer)
    tokenizer.post_processor = processors.Sequence([
        processors.ByteLevel(add_prefix_space=True, trim_offsets=True),
        processors.TemplateProcessing(single="$A </s>", pair="$A </s> $B </s>",
                                      special_tokens=[("</s>", EOS)]),
    ])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>",
        additional_special_tokens=list(SPECIAL[FIRST_SENTINEL:]), model_max_length=512,
        model_input_names=["input_ids", "attention_mask"], clean_up_tokenization_spaces=False)


@dataclass(frozen=True)
class Documents:
    """Tokenized documents end to end: document `i` is `flat[starts[i]:starts[i + 1]]`, `</s>` included."""

    flat: NDArray[np.uint16]
    starts: Tokens

    def packed(self, order: Tokens, length: int) -> NDArray[np.uint16]:
        """Return the documents in this order as rows of `length` tokens; a last partial row is dropped."""
        joined = np.concatenate([self.flat[self.starts[i]:self.starts[i + 1]] for i in order])
        rows = len(joined) // length
        return joined[:rows * length].reshape(rows, length)


def tokenize(texts: Texts, tokenizer: PreTrainedTokenizerFast, share: float) -> tuple[Documents, int]:
    """Return all documents, French ones repeated to make up `share` of the tokens, and how often."""
    def ids(group: Sequence[str]) -> list[NDArray[np.uint16]]:
        encodings = tokenizer.backend_tokenizer.encode_batch_fast(list(group))
        return [np.array(encoding.ids, dtype=np.uint16) for encoding in encodings]

    documents, french = ids(texts.documents), ids(texts.french)
    times = repeats(sum(map(len, french)), sum(map(len, documents)), share)
    rows = documents + french * times
    return Documents(np.concatenate(rows), np.cumsum([0, *map(len, rows)])), times


@dataclass(frozen=True)
class Corpus:
    """What a run reads: the tokenizer, the tokenized documents of both parts, and where they come from."""

    tokenizer: PreTrainedTokenizerFast
    train: Documents
    held_out: Documents
    french_repeats: int
    provenance: Mapping[str, Any]


def prepare(source: tlbench.DataSource, vocabulary: int, work: Path) -> Corpus:
    """Read the corpus and train the tokenizer, unless `work` holds them already, and tokenize."""
    path, folder = work / "texts.json", work / "tokenizer"
    if not path.is_file():
        write_texts(path, *read_corpus(source))
    texts, held_texts, provenance = read_texts(path)
    if folder.is_dir():
        tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    else:
        tokenizer = train_tokenizer(texts, vocabulary)
        publish(folder, tokenizer.save_pretrained)
    documents, times = tokenize(texts, tokenizer, FRENCH_SHARE)
    held_out, _ = tokenize(held_texts, tokenizer, share=0.0)
    return Corpus(tokenizer, documents, held_out, times, provenance)


@dataclass
class Stream:
    """Batches of packed rows as a function of the step: every epoch has its own order and its own packing."""

    documents: Documents
    recipe: Recipe
    epoch: int = -1

    def batch(self, step: int) -> NDArray[np.uint16]:
        """Return the rows of one step, shape (batch, length)."""
        per_epoch = len(self.documents.flat) // self.recipe.length // self.recipe.batch
        epoch, index = divmod(step, max(1, per_epoch))
        if epoch != self.epoch:
            self._rows, self.epoch = self._pack(epoch), epoch
        return self._rows[index * self.recipe.batch:(index + 1) * self.recipe.batch]

    def _pack(self, epoch: int) -> NDArray[np.uint16]:
        generator = np.random.default_rng([self.recipe.seed, 1, epoch])
        order = generator.permutation(len(self.documents.starts) - 1)
        return generator.permutation(self.documents.packed(order, self.recipe.length))


# --- objective --------------------------------------------------------------------------------------------


def segment(total: int, parts: int, generator: np.random.Generator) -> Tokens:
    """Return `parts` random lengths of at least 1 that sum to `total`."""
    cuts = np.sort(generator.choice(total - 1, parts - 1, replace=False)) + 1
    return np.diff(np.concatenate([[0], cuts, [total]]))


def corrupt(row: NDArray[Any], recipe: Recipe, generator: np.random.Generator) -> tuple[Tokens, Tokens]:
    """Replace random spans by sentinels; both results end with `</s>` and have fixed lengths.

    Returns:
        Encoder tokens, and as target each sentinel followed by the span that it stands for.
    """
    masked = round(len(row) * recipe.noise)
    spans = max(1, round(masked / recipe.span))
    noise = segment(masked, spans, generator)
    keep = segment(len(row) - masked + 2, spans + 1, generator)
    keep[[0, -1]] -= 1  # a text may begin or end with a span; between two spans at least one token stays
    pieces = np.split(row.astype(np.int64), np.cumsum(np.ravel(np.column_stack([keep[:-1], noise]))))
    marks = [np.array([FIRST_SENTINEL + i]) for i in range(spans)]
    inputs = [part for pair in zip(pieces[:-1:2], marks, strict=True) for part in pair]
    targets = [part for pair in zip(marks, pieces[1::2], strict=True) for part in pair]
    end = np.array([EOS])
    return np.concatenate([*inputs, pieces[-1], end]), np.concatenate([*targets, end])


def corrupt_all(rows: NDArray[Any], recipe: Recipe, generator: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Return encoder tokens and targets of several rows, shapes (rows, 128) and (rows, 29) at length 141."""
    pairs = [corrupt(row, recipe, generator) for row in rows]
    return (torch.from_numpy(np.stack([inputs for inputs, _ in pairs])),
            torch.from_numpy(np.stack([targets for _, targets in pairs])))


def token_losses(
    model: T5ForConditionalGeneration, inputs: Tensor, targets: Tensor, precision: Precision = "fp32"
) -> Tensor:
    """Return the cross-entropy of every target token in nats, float32, same shape as `targets`."""
    shifted = torch.cat([torch.full_like(targets[:, :1], PAD), targets[:, :-1]], dim=1)
    with autocast(precision, torch.device("cpu")):
        logits = model(input_ids=inputs, decoder_input_ids=shifted, use_cache=False).logits
    rows = nn.functional.cross_entropy(logits.float().flatten(0, 1), targets.flatten(), reduction="none")
    return rows.view_as(targets)


# --- training ---------------------------------------------------------------------------------------------


def build_model(recipe: Recipe) -> T5ForConditionalGeneration:
    """Return a randomly initialised float32 model; embedding and output matrix are one.

    On two cores, without dropout: SDPA is 10 % slower than eager attention, GELU 12 % slower than SiLU.
    """
    torch.manual_seed(recipe.seed)
    return T5ForConditionalGeneration(T5Config(
        vocab_size=recipe.vocabulary, d_model=recipe.width, d_kv=recipe.width // recipe.heads,
        d_ff=recipe.hidden, num_layers=recipe.layers, num_heads=recipe.heads, dropout_rate=0.0,
        feed_forward_proj="gated-silu", pad_token_id=PAD, eos_token_id=EOS, decoder_start_token_id=PAD,
        attn_implementation="eager"))


def build_optimizer(model: nn.Module) -> torch.optim.AdamW:
    """Return a fused AdamW with one group per tensor: on a CPU the fused path costs the same that way."""
    return torch.optim.AdamW([{"params": [tensor]} for tensor in model.parameters()], lr=0.0, betas=BETAS,
                             eps=EPSILON, weight_decay=0.0, fused=True)


def scale_steps(optimizer: torch.optim.AdamW, step_size: float) -> None:
    """Set each tensor's step size to `step_size` times its root mean square."""
    tensors = [group["params"][0].detach() for group in optimizer.param_groups]
    norms = torch.stack(torch._foreach_norm(tensors)).tolist()
    for group, tensor, norm in zip(optimizer.param_groups, tensors, norms, strict=True):
        group["lr"] = step_size * max(SMALLEST_SCALE, norm / math.sqrt(tensor.numel()))


def schedule(recipe: Recipe, progress: float) -> float:
    """Return the step size at a share of the budget: linear warm-up, then a cosine to 0."""
    if progress < recipe.warmup:
        return recipe.step_size * max(progress, 1e-3) / recipe.warmup
    rest = min(1.0, (progress - recipe.warmup) / (1 - recipe.warmup))
    return recipe.step_size * 0.5 * (1 + math.cos(math.pi * rest))


class Run:
    """A pre-training run: its state is a model, an optimizer and a few numbers, and lies in one file."""

    def __init__(self, recipe: Recipe, documents: Documents, precision: Precision = "fp32") -> None:
        self.recipe, self.precision = recipe, precision
        self.identity = {**asdict(recipe), "corpus": hashlib.sha256(documents.flat.tobytes()).hexdigest()}
        self.stream = Stream(documents, recipe)
        self.model = build_model(recipe)
        self.optimizer = build_optimizer(self.model)
        self.step = 0
        self.seconds = 0.0
        self.curve: list[dict[str, float]] = []

    @property
    def size(self) -> int:
        """Number of parameters."""
        return sum(tensor.numel() for tensor in self.model.parameters())

    @property
    def tokens(self) -> int:
        """Corpus tokens seen."""
        return self.step * self.recipe.batch * self.recipe.length

    @property
    def progress(self) -> float:
        """Share of the budget that is spent: of the tokens, or of the time if that is more."""
        time_spent = self.seconds / (60 * self.recipe.minutes) if self.recipe.minutes else 0.0
        return max(self.tokens / self.recipe.tokens, time_spent)

    def advance(self) -> float:
        """Take one optimizer step and return its mean loss per target token in nats."""
        start = time.perf_counter()
        generator = np.random.default_rng([self.recipe.seed, 2, self.step])
        inputs, targets = corrupt_all(self.stream.batch(self.step), self.recipe, generator)
        self.model.train()
        loss = token_losses(self.model, inputs, targets, self.precision).mean()
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), CLIP)
        scale_steps(self.optimizer, schedule(self.recipe, self.progress))
        self.optimizer.step()
        self.step += 1
        self.seconds += time.perf_counter() - start
        return float(loss.detach())

    def save(self, path: Path) -> None:
        """Write the whole state atomically."""
        state = {"identity": self.identity, "model": self.model.state_dict(),
                 "optimizer": self.optimizer.state_dict(), "step": self.step, "seconds": self.seconds,
                 "curve": self.curve, "random": torch.get_rng_state()}
        partial = path.with_suffix(".partial")
        with partial.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)

    def load(self, path: Path) -> None:
        """Continue from a checkpoint.

        Raises:
            SystemExit: the checkpoint was made by another recipe or from another corpus.
        """
        state = torch.load(path, weights_only=True)
        if state["identity"] != self.identity:
            raise SystemExit(f"the checkpoint {str(path)!r} was made by another recipe or from another "
                             "corpus: give another --work folder")
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.seconds, self.curve = state["step"], state["seconds"], state["curve"]
        torch.set_rng_state(state["random"])


class HeldOut:
    """Rows that are never trained on, masked once and for all, and the unigram loss of their targets."""

    def __init__(self, held_out: Documents, train: Documents, recipe: Recipe) -> None:
        generator = np.random.default_rng([recipe.seed, 3])
        rows = held_out.packed(generator.permutation(len(held_out.starts) - 1), recipe.length)
        self.inputs, self.targets = corrupt_all(rows, recipe, generator)
        self.content = (self.targets < FIRST_SENTINEL) | (self.targets >= FIRST_SENTINEL + SENTINELS)
        self.content[:, -1] = False
        counts = np.bincount(train.flat, minlength=recipe.vocabulary) + 1.0
        surprise = -np.log(counts / counts.sum())
        self.unigram = float(surprise[self.targets[self.content].numpy()].mean())

    def loss(self, model: T5ForConditionalGeneration, rows: int | None = None) -> float:
        """Return the mean loss in nats per target token that is neither a sentinel nor the last `</s>`."""
        model.eval()
        total, count = 0.0, 0
        with torch.inference_mode():
            for start in range(0, min(rows or len(self.inputs), len(self.inputs)), 32):
                part = slice(start, start + 32)
                losses = token_losses(model, self.inputs[part], self.targets[part])[self.content[part]]
                total, count = total + float(losses.sum()), count + losses.numel()
        return total / count


def train(run: Run, held_out: HeldOut, checkpoint: Path, every: float = 120.0) -> None:
    """Spend the budget; write a checkpoint and a held-out loss about every `every` seconds."""
    losses: list[float] = []
    due = time.monotonic() + every
    mark = (run.step, time.monotonic())
    while run.progress < 1.0:
        losses.append(run.advance())
        if run.step % 25 == 0:
            speed = (run.step - mark[0]) * run.recipe.batch * run.recipe.length / (time.monotonic() - mark[1])
            report(run, f"loss {np.mean(losses[-25:]):.3f}  {speed:,.0f} tokens/s")
            mark = (run.step, time.monotonic())
        if time.monotonic() >= due:
            note(run, held_out.loss(run.model, rows=128), float(np.mean(losses)))
            run.save(checkpoint)
            losses, due, mark = [], time.monotonic() + every, (run.step, time.monotonic())
    note(run, held_out.loss(run.model), float(np.mean(losses)) if losses else math.nan)
    run.save(checkpoint)


def note(run: Run, held_out: float, loss: float) -> None:
    """Add a point to the curve."""
    run.curve.append({"step": run.step, "tokens": run.tokens, "seconds": round(run.seconds, 1),
                      "loss": round(loss, 4), "held_out": round(held_out, 4)})
    report(run, f"loss {loss:.3f}  held-out {held_out:.3f}")


def report(run: Run, text: str) -> None:
    """Print one line of progress."""
    print(f"{time.strftime('%H:%M:%S')}  step {run.step}  {run.tokens / 1e6:.2f} M tokens  "
          f"{run.progress:6.1%}  {run.seconds / 60:.1f} min  {text}", flush=True)


# --- the result -------------------------------------------------------------------------------------------


def publish(folder: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a new folder and put it in the place of `folder` in one move."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    write(partial)
    partial.chmod(0o755)
    if folder.exists():
        shutil.rmtree(folder)
    partial.replace(folder)


def write_model(folder: Path, run: Run, tokenizer: PreTrainedTokenizerFast, card: str) -> None:
    """Write weights in bfloat16, tokenizer and card."""
    model = build_model(run.recipe)
    model.load_state_dict(run.model.state_dict())
    model.config.dropout_rate = FINE_TUNING_DROPOUT
    model.to(torch.bfloat16).save_pretrained(folder)
    (folder / "model.safetensors").chmod(0o644)
    tokenizer.save_pretrained(folder)
    (folder / "README.md").write_text(card, encoding="utf-8")


def card(run: Run, held_out: HeldOut, corpus: Corpus) -> str:
    """Return the model card: the template beside this script, filled."""
    recipe, last = run.recipe, run.curve[-1]
    rows = [f"| {point['step']} | {point['tokens'] / 1e6:.2f} | {point['seconds'] / 60:.1f} | "
            f"{point['loss']:.3f} | {point['held_out']:.3f} |" for point in run.curve]
    fields = asdict(recipe) | {
        "parameters": run.size / 1e6, "tokens": run.tokens / 1e6, "steps": run.step,
        "minutes": run.seconds / 60, "speed": run.tokens / run.seconds, "threads": torch.get_num_threads(),
        "torch": torch.__version__, "precision": run.precision, "betas": BETAS, "clip": CLIP,
        "french_repeats": corpus.french_repeats,
        "french_share": FRENCH_SHARE, "training_tokens": len(corpus.train.flat) / 1e6,
        "epochs": run.tokens / len(corpus.train.flat), "encoder_length": held_out.inputs.shape[1],
        "decoder_length": held_out.targets.shape[1], "held_out_documents": len(corpus.held_out.starts) - 1,
        "held_out_share": HELD_OUT, "held_out": last["held_out"], "unigram": held_out.unigram,
        "held_out_targets": int(held_out.content.sum()), "ratio": last["held_out"] / held_out.unigram,
        "corpus": json.dumps(corpus.provenance, indent=2, ensure_ascii=False),
        "recipe": json.dumps(asdict(recipe)), "curve": "\n".join(rows),
    }
    return CARD.read_text(encoding="utf-8").format(**fields)


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--tokens", type=int, default=Recipe.tokens, help="budget in corpus tokens (%(default)s)")
    add("--minutes", type=float, help="training time after which the schedule ends as well")
    add("--step-size", type=float, default=Recipe.step_size, help="peak, relative (%(default)s)")
    add("--batch", type=int, default=Recipe.batch, help="sequences per step (%(default)s)")
    add("--threads", type=int, default=torch.get_num_threads())
    add("--work", type=Path, default=Path("/tmp/mini"), help="folder of checkpoint and tokenizer")
    add("--output", type=Path, default=OUTPUT, help="folder of the model")
    return parser.parse_args()


def main() -> None:
    """Train or continue, then write the model folder."""
    given = arguments()
    torch.set_num_threads(given.threads)
    recipe = Recipe(tokens=given.tokens, minutes=given.minutes, batch=given.batch, step_size=given.step_size)
    given.work.mkdir(parents=True, exist_ok=True)
    corpus = prepare(tlbench.DataSource(offline=True), recipe.vocabulary, given.work)
    precision = choose("auto", torch.device("cpu"), tlbench.DataSource().cache)
    run, held_out = Run(recipe, corpus.train, precision), HeldOut(corpus.held_out, corpus.train, recipe)
    checkpoint = given.work / "checkpoint.pt"
    if checkpoint.is_file():
        run.load(checkpoint)
    print(f"{len(corpus.train.flat):,} training tokens (French read {corpus.french_repeats} times), "
          f"{len(held_out.inputs)} held-out sequences, unigram {held_out.unigram:.3f} nats, "
          f"{run.size:,} parameters, from step {run.step}", flush=True)
    train(run, held_out, checkpoint)
    text = card(run, held_out, corpus)
    publish(given.output, lambda folder: write_model(folder, run, corpus.tokenizer, text))
    print(f"wrote {given.output}", flush=True)


if __name__ == "__main__":
    main()
