"""The leaves of fine-tuning configs: those of every task, and those of some kinds of tasks."""

from train.options.leaves import DEVICE_LEAVES, MODEL_LEAVES, RUN_LEAVES, SEQUENCE_LENGTH, TFDS_DIR
from train.options.schema import NAMES, Leaf

_TASK_LEAVES = (
    Leaf("task", "identity", str, "what is learnt: a benchmark's task, or kind of the data"),
    *RUN_LEAVES,
    # What counts of it, and has to stay the same, is total_steps.
    Leaf("epochs", "free", float | None, "passes over the training rows, instead of total_steps", at_least=0),
    Leaf("warmup_fraction", "identity", float | None, "of all steps, instead of optimizer.warmup_steps", at_least=0),
    Leaf(
        "evaluations",
        "identity",
        int | None,
        "evaluations and checkpoints, evenly spread, instead of eval_every_steps and checkpoint_every_steps",
        at_least=1,
    ),
    Leaf(
        "early_stopping_evaluations",
        "identity",
        int | None,
        "evaluations without a better one that end the run",
        at_least=1,
    ),
    Leaf("seeds", "free", int, "runs, with seeds from `seed` on, each in a directory of its own", at_least=1),
    Leaf("new_head", "identity", bool, "draw a new head from the seed, whatever head init_from has"),
    Leaf("data.source", "identity", str, "builtin | files:PATH | tfds:NAME[/CONFIG]", is_place=True),
    TFDS_DIR,
    SEQUENCE_LENGTH,
    Leaf(
        "data.max_train_examples",
        "identity",
        int | None,
        "so many of the training examples, drawn with the seed",
        at_least=1,
    ),
    Leaf(
        "data.max_eval_examples",
        "identity",
        int | None,
        "so many of each held-out set, the same for every seed",
        at_least=1,
    ),
    Leaf("data.eval_tokens", "free", int, "tokens in a batch of evaluation, padding included", at_least=1),
    *DEVICE_LEAVES,
    *MODEL_LEAVES,
    Leaf(
        "model.classifier_dropout_prob",
        "identity",
        float | None,
        "dropout before the head; none: the preset's",
        at_least=0,
    ),
    Leaf("teacher", "identity", str | None, "a model fine-tuned on this task to learn from as well", is_place=True),
    Leaf("losses.task", "identity", float, "weight of the labels", at_least=0),
    Leaf("losses.soft_cross_entropy", "identity", float, "weight of the divergence from the teacher", at_least=0),
    Leaf("losses.logit_mse", "identity", float, "weight of the squared error of the teacher's logits", at_least=0),
    Leaf("losses.hidden_mse", "identity", float, "weight of the squared error of hidden states", at_least=0),
    Leaf("distill.temperature", "identity", float, "T of the soft cross-entropy", above=0),
    Leaf("distill.layer_map", "identity", tuple, "((teacher's layer, student's), ...) of hidden_mse; (): spread"),
    Leaf("distill.cache_teacher", "free", bool, "run the teacher once over the training rows, and keep its logits"),
    Leaf("push_to_hub", "free", str | None, "hub id (OWNER/NAME) that the model is uploaded to in the end"),
)

_CLASS_WEIGHTS = Leaf(
    "class_weights", "identity", str, "weight of each class's examples", choices=("equal", "balanced")
)

_LABELS = Leaf(
    "data.labels",
    "identity",
    NAMES,
    "by their indices, as a,b; (): the model's where the data's are among them, else the data's",
)

_TABLE_LEAVES = (
    Leaf("data.columns.text", "identity", str, "column of the text"),
    Leaf("data.columns.text_pair", "identity", str | None, "column of a second text"),
    Leaf("data.columns.label", "identity", str, "column of the label"),
    Leaf("data.columns.header", "identity", NAMES, "names of the columns of tables without a header"),
    Leaf(
        "data.separator",
        "identity",
        str,
        "between the fields of a table; auto: tabs in TSV, found in CSV",
        choices=("auto", "comma", "semicolon", "tab", "bar"),
    ),
    Leaf("data.eval_fraction", "identity", float, "held-out fraction where there is no file of held-out examples"),
)

_COLUMN_LEAVES = (
    *_TABLE_LEAVES,
    Leaf("data.columns.id", "identity", str | None, "column of the id; none: the number of the row"),
    Leaf(
        "data.problem",
        "identity",
        str,
        "what labels are: one of several, any number of them, a number",
        choices=("single_label", "multi_label", "regression"),
    ),
    Leaf("data.label_separator", "identity", str, "multi_label in TSV and CSV: what stands between labels"),
    _LABELS,
)

_TAG_LEAVES = (
    Leaf("data.columns.word", "identity", int | None, "column of the word, from 0; none: the first"),
    Leaf("data.columns.tag", "identity", int | None, "column of the tag, from the end if negative; none: the last"),
    _LABELS,
)

_LANGUAGE_LEAVES = (
    Leaf("data.language", "identity", str, "of the held-out texts"),
    Leaf("data.train_language", "identity", str | None, "of the training texts; none: the same"),
)

_SPAN_LEAVES = (
    Leaf("data.max_question_length", "identity", int, "tokens of a question", at_least=1),
    Leaf(
        "data.doc_stride",
        "identity",
        int | None,
        "tokens from window to window; none: contexts must fit whole",
        at_least=1,
    ),
    Leaf("data.eval_articles", "identity", int | None, "articles held out where there is one file alone", at_least=1),
    Leaf(
        "answers.head",
        "identity",
        str,
        "start and end for themselves, or ALBERT's: ends behind a few starts, and whether there is an answer",
        choices=("simple", "beam"),
    ),
    Leaf("answers.n_best", "free", int, "answers that a prediction keeps", at_least=1),
    Leaf("answers.max_length", "free", int, "tokens of an answer", at_least=1),
)

_SENTENCE_LEAVES = (
    *_TABLE_LEAVES,
    Leaf("sentences.pooling", "identity", str, "a sentence's vector", choices=("mean", "cls")),
    Leaf(
        "sentences.objective",
        "identity",
        str,
        "squared error of the cosine, or which of the batch's second sentences is a first one's own",
        choices=("cosine", "contrastive"),
    ),
    Leaf("sentences.most", "identity", float, "the number of two sentences that mean the same", above=0),
    Leaf("sentences.temperature", "identity", float, "contrastive: what cosines are divided by", above=0),
)

# By the name that a config file gives as its LEAVES.
FINETUNE_LEAVES = {
    "texts": (*_TASK_LEAVES, _CLASS_WEIGHTS),
    "columns": (*_TASK_LEAVES, _CLASS_WEIGHTS, *_COLUMN_LEAVES),
    "languages": (*_TASK_LEAVES, *_LANGUAGE_LEAVES),
    "tags": (*_TASK_LEAVES,),
    "words": (*_TASK_LEAVES, *_TAG_LEAVES),
    "choices": (*_TASK_LEAVES,),
    "spans": (*_TASK_LEAVES, *_SPAN_LEAVES),
    "sentences": (*_TASK_LEAVES, *_SENTENCE_LEAVES),
}
