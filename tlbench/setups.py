"""Setup: all that leads to one trained model, as data.

Frozen values only, no closures: the canonical JSON of a Setup is part of the cell's key, so whatever changes
a score changes the key. Strategies are functions from Setup to Setup (`tlbench.strategy`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from tlbench.canonical import added
from tlbench.task import Budget, TaskRef

Family = Literal["encoder", "decoder", "encoder-decoder"]


@dataclass(frozen=True)
class ModelRef:
    """The model of a cell: what identifies its weights, never where they lie.

    Attributes:
        name: Short name.
        family: Family of the architecture.
        model_type: transformers' name of the architecture.
        pooling: How one vector is made of a text.
        identity: Content hashes of a local model, or Hub id and commit.
    """

    name: str
    family: Family
    model_type: str
    pooling: str
    identity: Mapping[str, Any]


@dataclass(frozen=True)
class Reads:
    """Unlabelled text that a learner is given beside its examples.

    Attributes:
        corpus: Name of a corpus that the strategy was offered.
        identity: What pins its rows.
    """

    corpus: str
    identity: Mapping[str, Any]


@dataclass(frozen=True)
class Learner:
    """Who learns: `neural` is tlbench's own loop; any other name is the strategy that provides the learner.

    Attributes:
        name: Its name.
        config: Its settings.
        reads: Unlabelled text that it is given, or `None`.
        shared: Whether what it makes once for several cells is one for all replicates; else replicate r draws it with
            r added to the seed.
    """

    name: str = "neural"
    config: Mapping[str, Any] = field(default_factory=dict)
    reads: Reads | None = added(None)
    shared: bool = added(True)


@dataclass(frozen=True)
class Pretrained:
    """Start from the model's published weights."""


@dataclass(frozen=True)
class Random:
    """Start from random weights of the same architecture; the tokenizer stays the model's own.

    Attributes:
        layers: Blocks of each stack instead of the model's own number, or `None`.
    """

    layers: int | None = added(None)


@dataclass(frozen=True)
class Checkpoint:
    """Start from the trunk that training on another task leaves; the head stays behind.

    Attributes:
        task: The source task.
        budget: Its labels, training and validation together.
        setup: How the model is trained on it; may itself start from a checkpoint.
        shared: One checkpoint for all replicates instead of one for each, which narrows their spread.
    """

    task: TaskRef
    budget: Budget
    setup: Setup
    shared: bool = True


@dataclass(frozen=True)
class Pretraining:
    """How a model is pre-trained on unlabelled text; `recipes.default_pretraining` has the usual ones by family.

    Attributes:
        objective: `span-corruption` (T5, arXiv:1910.10683) for encoder-decoders, `masked` (BERT, arXiv:1810.04805:
            of the chosen tokens 80 % become the mask, 10 % a random token, 10 % stay) for encoders, `causal` for
            decoders.
        tokens: Budget in corpus tokens, counted before corruption, over all processes.
        minutes: Training time after which the schedule ends as well, or `None`. With it the schedule follows the
            larger share of the two, so that a slow machine anneals fully; such a run does not repeat bit for bit.
        batch: Sequences in each optimizer step, over all processes.
        length: Corpus tokens per packed sequence; with spans 141 leave exactly 128 encoder and 29 decoder tokens.
        noise: Share of tokens masked (not for `causal`).
        span: Mean length of a masked span in tokens (`span-corruption` only).
        optimizer: `adamw`, or `rms-adamw` for T5-like models: each step is scaled by the tensor's root mean square.
        step_size: Peak learning rate; relative for `rms-adamw`.
        betas: Decay rates of Adam's two moments.
        weight_decay: Decoupled decay of matrices.
        clip: Largest norm of the gradient.
        warmup: Share of the budget over which the step size rises linearly; a cosine then brings it to 0.
        seed: Seed of the weights, the data order and the masks.
    """

    objective: Literal["span-corruption", "masked", "causal"] = "span-corruption"
    tokens: int = 24_000_000
    minutes: float | None = None
    batch: int = 32
    length: int = 141
    noise: float = 0.15
    span: float = 3.0
    optimizer: Literal["adamw", "rms-adamw"] = "rms-adamw"
    step_size: float = 2e-2
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: float = 0.0
    clip: float = 1.0
    warmup: float = 0.04
    seed: int = 0


@dataclass(frozen=True)
class Continued:
    """Start from weights that have read unlabelled text, by the code of `tlbench pretrain`.

    Attributes:
        start: What the reading starts from.
        corpus: `task` is the text of the target's whole training side, without its labels; any other name is a corpus
            that the strategy was offered.
        identity: What pins the rows of an offered corpus.
        recipe: How it is read.
        shared: Whether all replicates start from one checkpoint; else replicate r reads with r added to the seed.
    """

    start: Pretrained | Random
    corpus: str
    identity: Mapping[str, Any]
    recipe: Pretraining
    shared: bool = added(True)


Weights = Pretrained | Random | Checkpoint | Continued


@dataclass(frozen=True)
class Lora:
    """Low-rank adapters on the attention projections (LoRA, arXiv:2106.09685), by the `peft` library.

    Attributes:
        rank: Inner dimension of the update.
        alpha: Scale; the update is multiplied by `alpha / rank`.
        dropout: Dropout in front of the adapter.
        targets: Which projections carry an adapter: `query-value` (the paper's) or `all-linear`.
    """

    rank: int = 8
    alpha: float = 16.0
    dropout: float = 0.0
    targets: Literal["query-value", "all-linear"] = "query-value"


@dataclass(frozen=True)
class Peft:
    """A method of the `peft` library that adds modules to a trunk's layers.

    Attributes:
        method: Name of the method: the library's own in lower case with hyphens, or `dora` or `rslora`.
        config: Settings of the method's own configuration class: numbers, words, and tuples of them.
    """

    method: str
    config: Mapping[str, Any] = field(default_factory=dict)

    def fault(self, model_type: str | None = None) -> str | None:
        """Return why this adapts no trunk, or none of an architecture, in one sentence; else `None`.

        Where there are settings to check it imports peft, and with it torch.
        """
        from tlbench.peft_methods import fault

        return fault(self.method, self.config, model_type)


Adapter = Lora | Peft


@dataclass(frozen=True)
class Ties:
    """Blocks that share their weights (ALBERT, arXiv:1909.11942): runs of neighbours become one.

    Attributes:
        distinct: Different blocks that are left in each stack; each run starts from its lowest block's weights.
    """

    distinct: int


@dataclass(frozen=True)
class Readout:
    """What the head reads of the trunk.

    Attributes:
        layers: The mean of the hidden states of so many last blocks, each scaled to a mean square of 1; 1 reads the
            trunk's output as it is.
        pooling: `model` pools as the model was trained to, else `mean` or `cls`.
    """

    layers: int = 1
    pooling: Literal["model", "mean", "cls"] = "model"


@dataclass(frozen=True)
class Augment:
    """Altered copies of the training examples, made before training; ids end in `#1`, `#2` and so on.

    Attributes:
        methods: What is done, one method a copy in turn: `dropout`, `swap`, `noise`, `neighbour`, `mention`.
        copies: Copies of each example.
        share: Share of the words that a copy alters.
    """

    methods: tuple[str, ...]
    copies: int
    share: float


@dataclass(frozen=True)
class Recipe:
    """How the weights are trained.

    Attributes:
        optimizer: `adamw`, or `rms-adamw` (step sizes scaled by each matrix's RMS) for T5-like models. It
            belongs to the architecture, not to the strategy, but that added modules take `adamw`.
        learning_rate: Peak rate of the trunk.
        head_learning_rate: Peak rate of the freshly initialised head.
        epochs: Passes over the training examples.
        min_steps: Steps taken at least, so that small budgets are trained to the end.
        batch_size: Examples in each optimizer step, over all processes.
        warmup: Share of the steps over which the rate rises linearly; it then falls linearly to 0, or stays
            constant under a plateau stop.
        weight_decay: Decoupled decay of matrices.
        clip: Largest norm of the gradient.
        max_length: Input tokens kept (per window for question answering).
        max_target_length: Target tokens kept, generation only.
        length_window: Batches are cut from windows of this many batches sorted by length (1: no grouping).
        layer_decay: Each layer group's rate in multiples of that of the group above it; 1 treats all alike.
        standardise: Whether numbers are learned in standard deviations of the training labels from their mean.
        separator: What stands between two texts of one example beside what the tokenizer puts there.
    """

    optimizer: Literal["adamw", "rms-adamw"] = "adamw"
    learning_rate: float = 5e-5
    head_learning_rate: float = 1e-3
    epochs: float = 5.0
    min_steps: int = 100
    batch_size: int = 16
    warmup: float = 0.1
    weight_decay: float = 0.01
    clip: float = 1.0
    max_length: int = 128
    max_target_length: int = 48
    length_window: int = 8
    layer_decay: float = added(1.0)
    standardise: bool = added(False)
    separator: str = added("")

    def for_added(self, multiple: float) -> Recipe:
        """Return the recipe of modules that are added to a frozen trunk (LoRA, arXiv:2106.09685, and its kin).

        They take AdamW even where the trunk takes relative steps, with 5e-4 as the rate to multiply and 1e-2 for the
        head: a step relative to a matrix that starts at 0, as half of LoRA's do, leaves it there.

        Args:
            multiple: Peak learning rate in multiples of fine-tuning's.
        """
        if self.optimizer == "rms-adamw":
            return replace(self, optimizer="adamw", learning_rate=5e-4 * multiple, head_learning_rate=1e-2)
        return replace(self, learning_rate=self.learning_rate * multiple)


@dataclass(frozen=True)
class Shape:
    """A small architecture that is pre-trained from random weights, with a tokenizer trained on its corpus.

    Attributes:
        family: `encoder` (BERT), `decoder` (GPT-2) or `encoder-decoder` (T5 with gated SiLU).
        layers: Blocks; an encoder-decoder has as many in each of its two parts.
        width: Size of the hidden states.
        vocabulary: Largest number of tokens; a small corpus gives fewer.
        heads: Attention heads; 0 takes one per 64 of the width.
        hidden: Inner size of the feed-forward layers; 0 takes 4 widths, or 2.75 where they are gated.
    """

    family: Literal["encoder", "decoder", "encoder-decoder"] = "encoder-decoder"
    layers: int = 3
    width: int = 256
    vocabulary: int = 8192
    heads: int = 0
    hidden: int = 0


@dataclass(frozen=True)
class FixedSteps:
    """Train for the recipe's epochs (at least its `min_steps`); the rate falls to 0."""


@dataclass(frozen=True)
class Plateau:
    """Train at a constant rate until nothing improves any more, then let the rate fall to 0.

    Watches validation loss and score, or training loss at budgets of 100 and below; starts to lose patience
    only after the steps that `FixedSteps` would take.

    Attributes:
        cap: Upper bound on all steps, in multiples of those of `FixedSteps`.
        patience: Evaluations without an improvement after which the rate falls.
        tolerance: Smallest relative improvement of the loss that counts, against the last one that counted.
        cooldown: Length of the linear fall to 0, in multiples of the steps of `FixedSteps`.
    """

    cap: float = 5.0
    patience: int = 3
    tolerance: float = 0.005
    cooldown: float = 0.4


Stop = FixedSteps | Plateau
Trainable = Literal["all", "head", "adapters"]
"""Which layer groups move: everything, the head alone (the trunk in eval mode), or adapters and head."""


@dataclass(frozen=True)
class Phase:
    """One stretch of training on the target task.

    Attributes:
        trainable: Which weights move.
        recipe: How they are trained.
        stop: When training ends.
        unfreeze: Share of the steps over which the trunk's layer groups begin to move one by one, from the top;
            0 moves all that is trainable from the first step.
        mixture: Further tasks, or text, learned at the same time, or `None`.
    """

    trainable: Trainable = "all"
    recipe: Recipe = field(default_factory=Recipe)
    stop: Stop = field(default_factory=FixedSteps)
    unfreeze: float = added(0.0)
    mixture: Mixture | None = added(None)


@dataclass(frozen=True)
class Setup:
    """All that leads to one trained model.

    Attributes:
        learner: Who learns.
        weights: Where the trunk's weights come from; ignored by learners that use no model.
        adapters: Modules added to the trunk, in order.
        phases: What is trained, one after the other.
        ties: Blocks that share weights, or `None`.
        readout: What the head reads, or `None` for the trunk's output and the model's own pooling.
        augment: Altered copies of the training examples, or `None`.
        teacher: Models to learn from, or `None`.
        seed: Redraws all that is random in this training but the examples; source models and teachers have their own.
    """

    learner: Learner = field(default_factory=Learner)
    weights: Weights = field(default_factory=Pretrained)
    adapters: tuple[Adapter, ...] = ()
    phases: tuple[Phase, ...] = (Phase(),)
    ties: Ties | None = added(None)
    readout: Readout | None = added(None)
    augment: Augment | None = added(None)
    teacher: Teacher | None = added(None)
    seed: int = added(0)

    @property
    def at_random(self) -> bool:
        """Return whether no published weights come in."""
        start = self.weights.start if isinstance(self.weights, Continued) else self.weights
        return isinstance(start, Random)

    def to_plateau(self, rate: float = 3.0, relative_rate: float = 2.0, cap: float = 5.0) -> Setup:
        """Return the Setup as weights are trained that never saw outside text: higher rates, until nothing improves.

        At the pre-trained model's rate and length they would always lose (Krishna et al. 2023, arXiv:2209.14389).

        Args:
            rate: Learning rate in multiples of fine-tuning's.
            relative_rate: The multiple where step sizes are relative.
            cap: Upper bound on steps, in multiples of fine-tuning's.
        """
        return replace(self, phases=tuple(
            replace(phase, stop=Plateau(cap=cap), recipe=replace(
                phase.recipe, learning_rate=phase.recipe.learning_rate
                * (relative_rate if phase.recipe.optimizer == "rms-adamw" else rate))) for phase in self.phases))


@dataclass(frozen=True)
class Teacher:
    """Models whose outputs on the training examples a student learns from, in task space.

    Attributes:
        model: The teachers' model; `None` takes the student's own.
        setup: How each teacher learns the cell's own labels.
        members: Teachers, alike but for their random streams; their outputs are averaged.
        temperature: Softens the distributions of both (classes, tags, answer positions).
        weight: Share of the teachers' outputs in the loss; the rest is the labels'.
    """

    model: ModelRef | None
    setup: Setup
    members: int
    temperature: float
    weight: float


@dataclass(frozen=True)
class Stream:
    """A further task that a phase learns from at the same time, with a head of its own on the same trunk.

    Attributes:
        task: The task.
        budget: Its labels; its validation part is not used.
        setup: Recipe whose lengths its texts are cut to.
    """

    task: TaskRef
    budget: Budget
    setup: Setup


@dataclass(frozen=True)
class TextStream:
    """Unlabelled text that a phase learns from at the same time, by the pre-training objective of the model's family.

    Attributes:
        corpus: As in `Continued`.
        identity: What pins the rows of an offered corpus.
        objective: As in `Pretraining`, like what follows. Each row is masked once, as in BERT's own training data.
        tokens: Tokens of text to draw from, about.
        length: Tokens of a packed row.
        noise: Share of tokens masked.
        span: Mean length of a masked span.
    """

    corpus: str
    identity: Mapping[str, Any]
    objective: Literal["span-corruption", "masked", "causal"]
    tokens: int
    length: int
    noise: float
    span: float


@dataclass(frozen=True)
class Mixture:
    """How a phase mixes its streams with the target.

    Attributes:
        streams: The further streams.
        mode: `draw` takes each step's batch from one stream; `sum` adds one batch of the target and one of the
            stream in each step.
        temperature: For `draw`: streams are drawn by their sizes to the power of 1/temperature.
        weight: For `sum`: share of the target in the loss at the first step.
        last: For `sum`: share at the last step of an ordinary fine-tuning, reached linearly and then kept.
    """

    streams: tuple[Stream | TextStream, ...]
    mode: Literal["draw", "sum"]
    temperature: float = 1.0
    weight: float = 1.0
    last: float = 1.0


Part = Literal[
    "learner", "weights", "adapters", "trainable", "recipe", "layer_decay", "stop", "ties", "readout", "augment",
    "teacher", "mixture",
]
"""The parts of a Setup that a strategy may declare to write; two writers of one part do not compose."""
