"""The options of fine-tuning: those of all tasks, and those of some kinds of tasks.

Defaults that make a recipe are in `configs/_finetuning.py`, with their source.
"""

import dataclasses

from train.options.schema import NAMES, REQUIRED, Option
from train.options.tables import DEVICE_OPTIONS, MODEL_OPTIONS, RUN_OPTIONS, SEQUENCE_LENGTH, TFDS_DIR

_EVERY_TASK = (
    Option("task", "fixed", str, REQUIRED, "a benchmark's task, or the kind of the data"),
    *RUN_OPTIONS,
    Option(
        "init_layers",
        "fixed",
        tuple | None,
        None,
        "layers of init_from to start from, counted from 0, as 0,3,5 (a single one: 3,); none: all",
        implied=True,
    ),
    # Free: total_steps follows from it, and is fixed.
    Option("epochs", "free", float | None, None, "passes over the training data, instead of total_steps", at_least=0),
    Option(
        "warmup_fraction",
        "fixed",
        float | None,
        None,
        "warm-up as a fraction of all steps, instead of optimizer.warmup_steps",
        at_least=0,
    ),
    Option(
        "evaluations",
        "fixed",
        int | None,
        None,
        "evaluations and checkpoints, evenly spaced, instead of eval_every_steps and checkpoint_every_steps",
        at_least=1,
    ),
    Option(
        "early_stopping_evaluations",
        "fixed",
        int | None,
        None,
        "evaluations without improvement after which the run ends",
        at_least=1,
    ),
    Option(
        "best_metric",
        "fixed",
        str | None,
        None,
        "held-out metric that chooses the best checkpoint, or loss; none: the task's own",
        implied=True,
    ),
    Option("score_test", "free", bool, False, "score the test sets too, where their labels are known"),
    Option("seeds", "free", int, 1, "number of runs, with seeds from `seed` on, each in its own directory", at_least=1),
    Option("new_head", "fixed", bool, False, "initialize the head from the seed even if init_from has one"),
    Option("data.source", "fixed", str, "builtin", "builtin | files:PATH | tfds:NAME[/CONFIG]", is_path=True),
    TFDS_DIR,
    dataclasses.replace(SEQUENCE_LENGTH, default=128),  # google-research/bert, run_classifier.py
    Option(
        "data.max_train_examples",
        "fixed",
        int | None,
        None,
        "number of training examples to use, drawn with the seed",
        at_least=1,
    ),
    Option(
        "data.max_eval_examples",
        "fixed",
        int | None,
        None,
        "number of examples of each held-out set to use, the same for every seed",
        at_least=1,
    ),
    Option("data.eval_tokens", "free", int, 8192, "tokens in an evaluation batch, with padding", at_least=1),
    *DEVICE_OPTIONS,
    *MODEL_OPTIONS,
    Option(
        "model.classifier_dropout_prob",
        "fixed",
        float | None,
        None,
        "dropout before the head; none: the preset's",
        at_least=0,
    ),
    Option("teacher", "fixed", str | None, None, "model fine-tuned on this task to distill from", is_path=True),
    Option("losses.task", "fixed", float, 1.0, "weight of the loss on labels", at_least=0),
    Option(
        "losses.soft_cross_entropy", "fixed", float, 0.0, "weight of the KL divergence from the teacher", at_least=0
    ),
    Option("losses.logit_mse", "fixed", float, 0.0, "weight of the squared error of the logits", at_least=0),
    Option("losses.hidden_mse", "fixed", float, 0.0, "weight of the squared error of hidden states", at_least=0),
    Option("distill.temperature", "fixed", float, 2.0, "temperature of soft_cross_entropy", above=0),
    Option(
        "distill.layer_map",
        "fixed",
        tuple,
        (),
        "((teacher layer, student layer), ...) of hidden_mse; (): evenly spaced",
    ),
    Option(
        "distill.cache_teacher", "free", bool, False, "run the teacher once over the training data and keep its logits"
    ),
    Option("push_to_hub", "free", str | None, None, "hub id (OWNER/NAME) to upload the model to at the end"),
)

_CLASS_WEIGHTS = Option(
    "class_weights",
    "fixed",
    tuple,
    "equal",
    "weight of each class's examples, as (('spam', 2.5), ('ham', 0.5)), where a label that is left out has 1",
    words=("equal", "balanced"),
)

_OWN_FILES = (
    Option(
        "data.eval_source",
        "fixed",
        str | None,
        None,
        "files:FILE of the held-out examples, of any name; none: found by its name in data.source, or a share of it",
        implied=True,
        is_path=True,
    ),
    Option(
        "data.test_source",
        "free",
        str | None,
        None,
        "files:FILE of the test examples, of any name; none: found by its name in data.source",
        is_path=True,
    ),
)

_LABELS = Option(
    "data.labels",
    "fixed",
    NAMES,
    (),
    "labels by index, as a,b; (): those of the model if they include the data's, else the data's",
)

_TABLE_OPTIONS = (
    *_OWN_FILES,
    Option(
        "data.skip_invalid_rows",
        "fixed",
        bool,
        False,
        "drop and count the rows that cannot be read, instead of ending with the first ten of them",
    ),
    Option("data.columns.text", "fixed", str, "text", "column of the text"),
    Option("data.columns.text_pair", "fixed", str | None, None, "column of a second text"),
    Option("data.columns.label", "fixed", str, "label", "column of the label"),
    Option("data.columns.header", "fixed", NAMES, (), "column names of a table without a header"),
    Option(
        "data.separator",
        "fixed",
        str,
        "auto",
        "field separator; auto: tab in TSV, detected in CSV",
        choices=("auto", "comma", "semicolon", "tab", "bar"),
    ),
    Option("data.eval_fraction", "fixed", float, 0.1, "held-out fraction, if there is no file of held-out examples"),
)

_COLUMN_OPTIONS = (
    *_TABLE_OPTIONS,
    Option("data.columns.id", "fixed", str | None, None, "column of the id; none: the row number"),
    Option(
        "data.problem",
        "fixed",
        str,
        "single_label",
        "a label is one of several classes, any number of them, or a number",
        choices=("single_label", "multi_label", "regression"),
    ),
    Option("data.label_separator", "fixed", str, ",", "multi_label in TSV and CSV: separator of labels"),
    _LABELS,
)

_TAG_OPTIONS = (
    *_OWN_FILES,
    Option("data.columns.word", "fixed", int | None, None, "column of the word, from 0; none: the first"),
    Option(
        "data.columns.tag", "fixed", int | None, None, "column of the tag, from the end if negative; none: the last"
    ),
    _LABELS,
)

_LANGUAGE_OPTIONS = (
    Option("data.language", "fixed", str, "en", "language of the held-out texts"),
    Option("data.train_language", "fixed", str | None, None, "language of the training texts; none: the same"),
)

_SPAN_OPTIONS = (
    _OWN_FILES[0],
    # google-research/bert, run_squad.py.
    Option("data.max_question_length", "fixed", int, 64, "tokens of a question, at most", at_least=1),
    Option(
        "data.doc_stride",
        "fixed",
        int | None,
        128,
        "tokens between the starts of two windows; none: contexts must fit whole",
        at_least=1,
    ),
    Option(
        "data.eval_articles", "fixed", int | None, None, "articles to hold out if there is a single file", at_least=1
    ),
    Option(
        "answers.head",
        "fixed",
        str,
        "simple",
        "simple: independent start and end; beam: ALBERT's, with ends scored given a start, and answerability",
        choices=("simple", "beam"),
    ),
    Option("answers.n_best", "free", int, 20, "number of candidate answers kept in predictions", at_least=1),
    Option("answers.max_length", "free", int, 30, "tokens of an answer, at most", at_least=1),
)

_SENTENCE_OPTIONS = (
    *_TABLE_OPTIONS,
    Option("sentences.pooling", "fixed", str, "mean", "pooling of token vectors", choices=("mean", "cls")),
    Option(
        "sentences.objective",
        "fixed",
        str,
        "cosine",
        "squared error of the cosine similarity, or in-batch contrastive loss",
        choices=("cosine", "contrastive"),
    ),
    Option("sentences.most", "fixed", float, 5.0, "highest score, of two sentences with the same meaning", above=0),
    Option("sentences.temperature", "fixed", float, 0.05, "contrastive: temperature of cosine similarities", above=0),
)

# The table of each task that has options besides those of all tasks on texts, "texts".
TABLE_OF_TASK = {
    "classify": "columns",
    "sentences": "sentences",
    "ner": "words",
    "tags": "tags",
    "xnli": "languages",
    **dict.fromkeys(("race", "swag", "choices"), "choices"),
    **dict.fromkeys(("squad_v1", "squad_v2", "spans", "spans_v2"), "spans"),
}

# By the TASK_OPTIONS of a config file.
FINETUNE_OPTIONS = {
    "texts": (*_EVERY_TASK, _CLASS_WEIGHTS),
    "columns": (*_EVERY_TASK, _CLASS_WEIGHTS, *_COLUMN_OPTIONS),
    "languages": (*_EVERY_TASK, *_LANGUAGE_OPTIONS),
    "tags": _EVERY_TASK,
    "words": (*_EVERY_TASK, *_TAG_OPTIONS),
    "choices": _EVERY_TASK,
    "spans": (*_EVERY_TASK, *_SPAN_OPTIONS),
    "sentences": (*_EVERY_TASK, *_SENTENCE_OPTIONS),
}
