"""The options of fine-tuning configs: those of every task, and those of some kinds of tasks."""

from train.options.schema import NAMES, Option
from train.options.tables import DEVICE_OPTIONS, MODEL_OPTIONS, RUN_OPTIONS, SEQUENCE_LENGTH, TFDS_DIR

_TASK_OPTIONS = (
    Option("task", "fixed", str, "what is learned: a benchmark's task, or kind of the data"),
    *RUN_OPTIONS,
    # What counts of it, and has to stay the same, is total_steps.
    Option("epochs", "free", float | None, "passes over the training rows, instead of total_steps", at_least=0),
    Option("warmup_fraction", "fixed", float | None, "of all steps, instead of optimizer.warmup_steps", at_least=0),
    Option(
        "evaluations",
        "fixed",
        int | None,
        "evaluations and checkpoints, evenly spread, instead of eval_every_steps and checkpoint_every_steps",
        at_least=1,
    ),
    Option(
        "early_stopping_evaluations",
        "fixed",
        int | None,
        "evaluations without a better one that end the run",
        at_least=1,
    ),
    Option("seeds", "free", int, "runs, with seeds from `seed` on, each in a directory of its own", at_least=1),
    Option("new_head", "fixed", bool, "draw a new head from the seed, whatever head init_from has"),
    Option("data.source", "fixed", str, "builtin | files:PATH | tfds:NAME[/CONFIG]", is_place=True),
    TFDS_DIR,
    SEQUENCE_LENGTH,
    Option(
        "data.max_train_examples",
        "fixed",
        int | None,
        "so many of the training examples, drawn with the seed",
        at_least=1,
    ),
    Option(
        "data.max_eval_examples",
        "fixed",
        int | None,
        "so many of each held-out set, the same for every seed",
        at_least=1,
    ),
    Option("data.eval_tokens", "free", int, "tokens in a batch of evaluation, padding included", at_least=1),
    *DEVICE_OPTIONS,
    *MODEL_OPTIONS,
    Option(
        "model.classifier_dropout_prob",
        "fixed",
        float | None,
        "dropout before the head; none: the preset's",
        at_least=0,
    ),
    Option("teacher", "fixed", str | None, "a model fine-tuned on this task to learn from as well", is_place=True),
    Option("losses.task", "fixed", float, "weight of the labels", at_least=0),
    Option("losses.soft_cross_entropy", "fixed", float, "weight of the divergence from the teacher", at_least=0),
    Option("losses.logit_mse", "fixed", float, "weight of the squared error of the teacher's logits", at_least=0),
    Option("losses.hidden_mse", "fixed", float, "weight of the squared error of hidden states", at_least=0),
    Option("distill.temperature", "fixed", float, "T of the soft cross-entropy", above=0),
    Option("distill.layer_map", "fixed", tuple, "((teacher's layer, student's), ...) of hidden_mse; (): spread"),
    Option("distill.cache_teacher", "free", bool, "run the teacher once over the training rows, and keep its logits"),
    Option("push_to_hub", "free", str | None, "hub id (OWNER/NAME) that the model is uploaded to in the end"),
)

_CLASS_WEIGHTS = Option("class_weights", "fixed", str, "weight of each class's examples", choices=("equal", "balanced"))

_LABELS = Option(
    "data.labels",
    "fixed",
    NAMES,
    "by their indices, as a,b; (): the model's where the data's are among them, else the data's",
)

_TABLE_OPTIONS = (
    Option("data.columns.text", "fixed", str, "column of the text"),
    Option("data.columns.text_pair", "fixed", str | None, "column of a second text"),
    Option("data.columns.label", "fixed", str, "column of the label"),
    Option("data.columns.header", "fixed", NAMES, "names of the columns of tables without a header"),
    Option(
        "data.separator",
        "fixed",
        str,
        "between the fields of a table; auto: tabs in TSV, found in CSV",
        choices=("auto", "comma", "semicolon", "tab", "bar"),
    ),
    Option("data.eval_fraction", "fixed", float, "held-out fraction where there is no file of held-out examples"),
)

_COLUMN_OPTIONS = (
    *_TABLE_OPTIONS,
    Option("data.columns.id", "fixed", str | None, "column of the id; none: the number of the row"),
    Option(
        "data.problem",
        "fixed",
        str,
        "what labels are: one of several, any number of them, a number",
        choices=("single_label", "multi_label", "regression"),
    ),
    Option("data.label_separator", "fixed", str, "multi_label in TSV and CSV: what stands between labels"),
    _LABELS,
)

_TAG_OPTIONS = (
    Option("data.columns.word", "fixed", int | None, "column of the word, from 0; none: the first"),
    Option("data.columns.tag", "fixed", int | None, "column of the tag, from the end if negative; none: the last"),
    _LABELS,
)

_LANGUAGE_OPTIONS = (
    Option("data.language", "fixed", str, "of the held-out texts"),
    Option("data.train_language", "fixed", str | None, "of the training texts; none: the same"),
)

_SPAN_OPTIONS = (
    Option("data.max_question_length", "fixed", int, "tokens of a question", at_least=1),
    Option(
        "data.doc_stride",
        "fixed",
        int | None,
        "tokens from window to window; none: contexts must fit whole",
        at_least=1,
    ),
    Option("data.eval_articles", "fixed", int | None, "articles held out where there is one file alone", at_least=1),
    Option(
        "answers.head",
        "fixed",
        str,
        "start and end for themselves, or ALBERT's: ends behind a few starts, and whether there is an answer",
        choices=("simple", "beam"),
    ),
    Option("answers.n_best", "free", int, "answers that a prediction keeps", at_least=1),
    Option("answers.max_length", "free", int, "tokens of an answer", at_least=1),
)

_SENTENCE_OPTIONS = (
    *_TABLE_OPTIONS,
    Option("sentences.pooling", "fixed", str, "a sentence's vector", choices=("mean", "cls")),
    Option(
        "sentences.objective",
        "fixed",
        str,
        "squared error of the cosine, or which of the batch's second sentences is a first one's own",
        choices=("cosine", "contrastive"),
    ),
    Option("sentences.most", "fixed", float, "the number of two sentences that mean the same", above=0),
    Option("sentences.temperature", "fixed", float, "contrastive: what cosines are divided by", above=0),
)

# By the name that a config file gives as its OPTIONS.
FINETUNE_OPTIONS = {
    "texts": (*_TASK_OPTIONS, _CLASS_WEIGHTS),
    "columns": (*_TASK_OPTIONS, _CLASS_WEIGHTS, *_COLUMN_OPTIONS),
    "languages": (*_TASK_OPTIONS, *_LANGUAGE_OPTIONS),
    "tags": (*_TASK_OPTIONS,),
    "words": (*_TASK_OPTIONS, *_TAG_OPTIONS),
    "choices": (*_TASK_OPTIONS,),
    "spans": (*_TASK_OPTIONS, *_SPAN_OPTIONS),
    "sentences": (*_TASK_OPTIONS, *_SENTENCE_OPTIONS),
}
