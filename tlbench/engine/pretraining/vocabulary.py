"""Tokenizers trained on the corpus, and the ids that the objectives need of any tokenizer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from tlbench.corpora.documents import Documents
from tlbench.engine.pretraining.packing import repeats
from tlbench.errors import UserError
from tlbench.setups import Shape

SENTINELS = 100
_SPECIAL: dict[str, dict[str, str]] = {
    "encoder": {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"},
    "decoder": {"pad": "<pad>", "eos": "</s>", "unk": "<unk>"},
    "encoder-decoder": {"pad": "<pad>", "eos": "</s>", "unk": "<unk>"},
}
_ALPHABET = 256


def train_tokenizer(documents: Documents, shape: Shape) -> Any:
    """Return a byte-level BPE tokenizer with the special tokens of the shape's family.

    An encoder-decoder's ends every text with `</s>` and has 100 sentinels, as T5's; an encoder's writes `[CLS]` in
    front and `[SEP]` behind, as BERT's; a decoder's adds nothing, as GPT-2's, since its texts are continued.

    Raises:
        UserError: the vocabulary has no room for the bytes and the special tokens.
    """
    names = _SPECIAL[shape.family]
    sentinels = [f"<extra_id_{i}>" for i in range(SENTINELS)] if shape.family == "encoder-decoder" else []
    special = [*names.values(), *sentinels]
    if shape.vocabulary < _ALPHABET + len(special):
        raise UserError(f"a vocabulary of {shape.vocabulary} is too small: bytes and special tokens alone are "
                        f"{_ALPHABET + len(special)}, so give a larger --vocabulary")
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    inner.decoder = decoders.Sequence([decoders.ByteLevel(), decoders.Strip(" ", 1, 0)])
    trainer = trainers.BpeTrainer(vocab_size=shape.vocabulary, special_tokens=special, show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    times = repeats(sum(map(len, documents.scarce)), sum(map(len, documents.texts)), documents.share)
    inner.train_from_iterator((*documents.texts, *(documents.scarce * times)), trainer)
    inner.post_processor = processors.Sequence([
        processors.ByteLevel(add_prefix_space=True, trim_offsets=True), *_template(shape.family, special)])
    types = ["token_type_ids"] if shape.family == "encoder" else []
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, additional_special_tokens=sentinels, model_max_length=512,
        model_input_names=["input_ids", *types, "attention_mask"], clean_up_tokenization_spaces=False,
        **{f"{role}_token": name for role, name in names.items()})


def _template(family: str, special: list[str]) -> list[Any]:
    """Return what writes special tokens around a text; their ids are their places in the list."""
    if family == "decoder":
        return []
    single, pair, used = "$A </s>", "$A </s> $B </s>", ["</s>"]
    if family == "encoder":
        single, pair, used = "[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1", ["[CLS]", "[SEP]"]
    ids = [(token, special.index(token)) for token in used]
    return [processors.TemplateProcessing(single=single, pair=pair, special_tokens=ids)]


@dataclass(frozen=True)
class Symbols:
    """The ids that the objectives need.

    Attributes:
        size: Rows of the model's output layer.
        special: Ids that are never masked and never drawn.
        end: Token that ends a target, or -1.
        start: Token that a decoder's input starts with, or -1.
        mask: Mask token, or -1.
        sentinels: Marks of masked spans, in order; empty if there are none.
    """

    size: int
    special: tuple[int, ...]
    end: int = -1
    start: int = -1
    mask: int = -1
    sentinels: tuple[int, ...] = ()


def symbols_of(tokenizer: Any, start: int | None = None) -> Symbols:
    """Read the ids off a tokenizer.

    Args:
        tokenizer: A fast tokenizer.
        start: The model's `decoder_start_token_id`.
    """
    known = tokenizer.get_vocab()
    sentinels: list[int] = []
    while (name := f"<extra_id_{len(sentinels)}>") in known:
        sentinels.append(known[name])

    def given(value: int | None) -> int:
        return -1 if value is None else value

    special = tuple(sorted({*tokenizer.all_special_ids, *sentinels}))
    return Symbols(len(tokenizer), special, given(tokenizer.eos_token_id), given(start),
                   given(tokenizer.mask_token_id), tuple(sentinels))
