"""Toy tasks, strategies and tiny random models: real objects in place of mocks.

The file is a plugin itself (`--plugin tests/toys.py`); tests reach it through the fixture `toys`. Nothing here imports
torch before a model is made.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tlbench import (
    Example,
    GenerationExample,
    Learner,
    LearnerModel,
    Offer,
    Prediction,
    QuestionExample,
    Setup,
    Span,
    Splits,
    Strategy,
    Task,
    TextExample,
    TokenExample,
)

NAMES = ["Zoë", "Éloïse", "Jürgen", "Ólafur", "Anaïs", "Noël"]
CITIES = ["São Paulo", "Malmö", "Orléans", "Den\u00a0Haag", "Łódź"]
FILLERS = ["ﬁnds", "the", "oﬃce", "naïve", "straße", "often", "e\u0301te\u0301", "quickly", "ﬂow", "and", "very"]
SPACES = [" ", " ", " ", "  ", "\u00a0"]
TRAIN, TEST = 80, 25
SIGNALS = {"die": signal.SIGKILL, "interrupt": signal.SIGINT, "terminate": signal.SIGTERM, "hang-up": signal.SIGHUP}
KINDS = {
    "text-classification": "toy-topic",
    "text-regression": "toy-score",
    "token-classification": "toy-names",
    "question-answering": "toy-where",
    "text-generation": "toy-copy",
}


def sentence(draw: random.Random, words: Sequence[str]) -> str:
    """Join words by single, double and non-breaking spaces."""
    return "".join(word + draw.choice(SPACES) for word in words).strip()


def fillers(draw: random.Random, least: int = 2, most: int = 8) -> list[str]:
    """Return some words that mean nothing."""
    return draw.choices(FILLERS, k=draw.randint(least, most))


def topic(draw: random.Random, name: str) -> Example:
    """Return a text whose class one word gives away."""
    label = draw.choice(["élan", "ﬁlm", "rock"])
    return TextExample(name, sentence(draw, [*fillers(draw), label, *fillers(draw), name]), label)


def score(draw: random.Random, name: str) -> Example:
    """Return a pair of texts whose number is the share of stars."""
    stars = draw.randint(0, 4)
    text = sentence(draw, [*fillers(draw), *["étoile"] * stars, name])
    return TextExample(name, text, stars / 4, sentence(draw, fillers(draw)))


def names(draw: random.Random, name: str) -> Example:
    """Return words with persons and cities; one word in ten has no tag."""
    words, tags = [name], ["O"]
    for _ in range(draw.randint(1, 4)):
        for word in fillers(draw, 1, 3):
            words.append(word)
            tags.append("O")
        if draw.random() < 0.5:
            words.append(draw.choice(NAMES))
            tags.append("B-PER")
        else:
            city = draw.choice(["São Paulo", "Malmö", "Den Haag"]).split(" ")
            words += city
            tags += ["B-LOC", *["I-LOC"] * (len(city) - 1)]
    return TokenExample(name, tuple(words), tuple(None if tag == "O" and draw.random() < 0.1 else tag for tag in tags))


def where(draw: random.Random, name: str) -> Example:
    """Return a question about one of the sentences of a context."""
    context, spans, people = "", [], draw.sample(NAMES, 3)
    for person in people:
        context += sentence(draw, [person, *fillers(draw, 1, 4), "lives", "in"]) + draw.choice([" ", "  "])
        city = draw.choice(CITIES)
        spans.append(Span(city, len(context)))
        context += f"{city}. "
    at = draw.randrange(3)
    return QuestionExample(name, f"Where does {people[at]} live ({name})?", context, (spans[at],), name)


def copy(draw: random.Random, name: str) -> Example:
    """Return a source and its two last words."""
    words = [name, *fillers(draw, 2, 5)]
    return GenerationExample(name, sentence(draw, words), (" ".join(words[-2:]),))


MAKERS = {"toy-topic": topic, "toy-score": score, "toy-names": names, "toy-where": where, "toy-copy": copy}


def examples(task: str, count: int, prefix: str = "train") -> tuple[Any, ...]:
    """Return examples of a toy task; equal arguments give equal examples."""
    draw = random.Random(f"{task}/{prefix}")
    return tuple(MAKERS[task](draw, f"{prefix}-{number}") for number in range(count))


class Toy(Task):
    """What the toy tasks share."""

    default_budget = 40

    def load(self, source: Any) -> Splits:
        """Make both splits."""
        return Splits(examples(self.name, TRAIN), examples(self.name, TEST, "test"))


class ToyTopic(Toy):
    """Classes."""

    name, kind = "toy-topic", "text-classification"
    template = "Text: {text}\nTopic:"


class ToyScore(Toy):
    """Numbers, of pairs."""

    name, kind = "toy-score", "text-regression"
    template = "Stars: {text}\nScore:"


class ToyNames(Toy):
    """Tags."""

    name, kind = "toy-names", "token-classification"
    template = "Text: {words}\nNames:"


class ToyWhere(Toy):
    """Answers."""

    name, kind = "toy-where", "question-answering"
    template = "{context}\nQ: {question}\nA:"


class ToyCopy(Toy):
    """Texts."""

    name, kind = "toy-copy", "text-generation"
    template = "Text: {source}\nEnd:"


@dataclass(frozen=True)
class Short(Strategy):
    """Cut any neural strategy to a few steps; compose it: `lora+short`."""

    steps: int = 4
    batch_size: int = 8
    rate: float = 1.0

    name = "short"

    def prepare(self, setup: Setup, offer: Offer) -> Setup:
        """Shorten every phase."""
        return replace(setup, phases=tuple(replace(phase, recipe=self._cut(phase.recipe)) for phase in setup.phases))

    def _cut(self, recipe: Any) -> Any:
        return replace(recipe, epochs=1e-6, min_steps=self.steps, batch_size=self.batch_size, max_target_length=8,
                       learning_rate=recipe.learning_rate * self.rate)


@dataclass(frozen=True)
class Slow(Strategy):
    """Answer what a seed says, after a nap."""

    seconds: float = 0.1

    name = "slow"
    uses_model = False
    transfers = False
    writes = frozenset({"learner"})

    def prepare(self, setup: Setup, offer: Offer) -> Setup:
        """Name this strategy as the learner."""
        return replace(setup, learner=Learner("slow", {"seconds": self.seconds}))

    def learner(self, config: Mapping[str, Any], kind: str, seed: int) -> LearnerModel:
        """Return the sleeper."""
        return Sleeper(config["seconds"], seed)


class Sleeper(LearnerModel):
    """Draws classes by its seed."""

    def __init__(self, seconds: float, seed: int) -> None:
        self.seconds, self.draw = seconds, random.Random(seed)

    def fit(self, train: Sequence[Example], validation: Sequence[Example]) -> Mapping[str, Any]:
        """Sleep."""
        time.sleep(self.seconds)
        self.labels = sorted({str(e.label) for e in train if isinstance(e, TextExample)})
        return {"slept": self.seconds}

    def predict(self, examples: Sequence[Example]) -> list[Prediction]:
        """Draw."""
        return [self.draw.choice(self.labels) for _ in examples]


@dataclass(frozen=True)
class Stumble(Strategy):
    """Raise, die outright, or be told to end, unless the file that the variable `TOY_MENDED` names is there."""

    way: str = "raise"

    name = "stumble"
    uses_model = False
    transfers = False
    writes = frozenset({"learner"})

    def prepare(self, setup: Setup, offer: Offer) -> Setup:
        """Name this strategy as the learner."""
        return replace(setup, learner=Learner("stumble", {"way": self.way}))

    def learner(self, config: Mapping[str, Any], kind: str, seed: int) -> LearnerModel:
        """Return the sleeper once mended."""
        if os.path.exists(os.environ.get("TOY_MENDED", "")):
            return Sleeper(0.0, seed)
        if config["way"] in SIGNALS:
            os.kill(os.getpid(), SIGNALS[config["way"]])
            time.sleep(5)
        raise RuntimeError("it stumbled\nover two lines")


# --- models ---------------------------------------------------------------------------------------------------------

POSITIONS = 64


def corpus() -> Iterator[str]:
    """Yield texts to train tokenizers on."""
    for task in MAKERS:
        for example in examples(task, 40):
            for part in ("text", "context", "question", "source"):
                if hasattr(example, part):
                    yield getattr(example, part)
            yield " ".join(getattr(example, "words", ()))


def save(family: str, folder: Path, seed: int = 0, **config: Any) -> Path:
    """Save a tiny random model of a family with a tokenizer of its kind, and return the folder."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = {"encoder": bert, "decoder": gpt2, "encoder-decoder": t5}[family](**config)
    model.save_pretrained(folder)
    tokenizer(family).save_pretrained(folder)
    return folder


def tokenizer(family: str) -> Any:
    """Return a tokenizer: WordPiece, byte-level BPE or Unigram with Metaspace.

    They were trained once on `corpus`, with 200, 340 and 200 entries: training them differs from process to process.
    """
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer.from_file(str(Path(__file__).with_name("tokenizers") / f"{family}.json"))
    return PreTrainedTokenizerFast(tokenizer_object=inner, model_max_length=10**9, **SPECIAL[family])


SPECIAL: dict[str, dict[str, Any]] = {
    "encoder": {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]",
                "mask_token": "[MASK]", "model_input_names": ["input_ids", "token_type_ids", "attention_mask"]},
    "decoder": {"eos_token": "<|endoftext|>", "model_input_names": ["input_ids", "attention_mask"]},
    "encoder-decoder": {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>",
                        "extra_special_tokens": [f"<extra_id_{number}>" for number in range(8)],
                        "model_input_names": ["input_ids", "attention_mask"]},
}


def bert(**config: Any) -> Any:
    """Return a tiny BERT."""
    from transformers import BertConfig, BertModel

    return BertModel(BertConfig(vocab_size=256, hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
                                intermediate_size=64, max_position_embeddings=POSITIONS, **config),
                     add_pooling_layer=False)


def gpt2(**config: Any) -> Any:
    """Return a tiny GPT-2."""
    from transformers import GPT2Config, GPT2LMHeadModel

    return GPT2LMHeadModel(GPT2Config(vocab_size=352, n_embd=32, n_layer=2, n_head=2, n_positions=POSITIONS,
                                      bos_token_id=0, eos_token_id=0, **config))


def t5(**config: Any) -> Any:
    """Return a tiny T5."""
    from transformers import T5Config, T5ForConditionalGeneration

    return T5ForConditionalGeneration(T5Config(vocab_size=256, d_model=32, d_kv=16, d_ff=64, num_layers=2, num_heads=2,
                                               pad_token_id=0, eos_token_id=1, decoder_start_token_id=0, **config))


def without_dropout(family: str) -> dict[str, float]:
    """Return the settings that switch off all dropout of a family's tiny model."""
    return {
        "encoder": {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0},
        "decoder": {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0},
        "encoder-decoder": {"dropout_rate": 0.0},
    }[family]
