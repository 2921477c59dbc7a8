"""The registry of tasks by name: how each reads its data, its built-in replacement, and how it builds its rows."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

from flax_lite.models.heads import SequenceClassification, TokenClassification
from flax_lite.tokenization import Tokenizer
from train.errors import UserError
from train.tasks.builtin import CHOICES, ENTAILMENT, SENTIMENT, SIMILARITY, SPANS, SPANS_V2, TAGS, BuiltinTask
from train.tasks.examples import Kind, TaskData, reorder_labels
from train.tasks.kinds.classification import Choices, Classification
from train.tasks.kinds.sentences import Sentences
from train.tasks.kinds.spans import BeamSpans, Spans
from train.tasks.kinds.tagging import Tagging
from train.tasks.kinds.task import Task, known_labels
from train.tasks.readers.classify import Columns, read_classify
from train.tasks.readers.folders import own_file, table_files
from train.tasks.readers.glue import read_glue
from train.tasks.readers.glue_ax import read_ax
from train.tasks.readers.glue_table import GLUE
from train.tasks.readers.multiple_choice import read_race, read_swag
from train.tasks.readers.ner import read_ner
from train.tasks.readers.squad import read_squad
from train.tasks.readers.xnli import read_xnli
from train.tasks.scores.squad_metric import Version

Values = Mapping[str, Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Entry:
    """A task of the registry.

    Attributes:
        read: reads its data from files or tfds; arguments are the options and whether a training set is required.
        builtin: the built-in task that replaces it with data.source=builtin.
        make: creates the task from its data, the tokenizer and the options.
        kind: the kind of its examples, if it is not that of the data that is read.
    """

    read: Callable[[Values, bool], TaskData]
    builtin: BuiltinTask
    make: Callable[[TaskData, Tokenizer, Values], Task]
    kind: Kind | None = None


def _classification(data: TaskData, tokenizer: Tokenizer, values: Values) -> Task:
    return Classification(data, tokenizer, values["data.sequence_length"])


def _tagging(data: TaskData, tokenizer: Tokenizer, values: Values) -> Task:
    return Tagging(data, tokenizer, values["data.sequence_length"])


def _choices(data: TaskData, tokenizer: Tokenizer, values: Values) -> Task:
    return Choices(data, tokenizer, values["data.sequence_length"])


def _sentences(data: TaskData, tokenizer: Tokenizer, values: Values) -> Task:
    return Sentences(
        data,
        tokenizer,
        values["data.sequence_length"],
        pooling=values["sentences.pooling"],
        loss=values["sentences.objective"],
        temperature=values["sentences.temperature"],
        most=values["sentences.most"],
    )


def _read_classify(values: Values, training: bool) -> TaskData:
    eval_fraction = values["data.eval_fraction"]
    train, evaluation, test, notes = table_files(
        _path(values),
        eval_fraction,
        training=training,
        evaluation=own_file(values, "data.eval_source"),
        test=own_file(values, "data.test_source"),
    )
    if not training and evaluation is None and eval_fraction == 1.0:
        train, evaluation = None, train
    problem = values.get("data.problem", "regression")
    data = read_classify(
        train,
        evaluation=evaluation,
        evaluation_fraction=0.0 if evaluation else eval_fraction,
        test=test,
        columns=Columns(
            text=values["data.columns.text"],
            text_pair=values["data.columns.text_pair"],
            label=values["data.columns.label"],
            id=values.get("data.columns.id"),
            header=values["data.columns.header"],
            separator=values.get("data.label_separator", ","),
            fields=values["data.separator"],
        ),
        problem=problem,
        labels=values.get("data.labels", ()),
        known=None if problem == "regression" else known_labels(values, SequenceClassification),
        skip_invalid=values["data.skip_invalid_rows"],
    )
    return dataclasses.replace(data, notes=(*notes, *data.notes))


def _read_ner(values: Values, training: bool) -> TaskData:
    return read_ner(
        values["data.source"],
        word_column=values.get("data.columns.word"),
        tag_column=values.get("data.columns.tag"),
        labels=values.get("data.labels", ()),
        known=known_labels(values, TokenClassification),
        tfds_dir=values["data.tfds_dir"],
        training=training,
        evaluation=own_file(values, "data.eval_source"),
        test=own_file(values, "data.test_source"),
    )


def _read_xnli(values: Values, training: bool) -> TaskData:
    languages = {"language": values["data.language"], "train_language": values["data.train_language"]}
    return _in_known_order(read_xnli(values["data.source"], **languages, training=training), values)


def _read_glue(task: str, values: Values, training: bool) -> TaskData:
    read = read_ax if task == "ax" else functools.partial(read_glue, task)
    data = read(values["data.source"], tfds_dir=values["data.tfds_dir"], training=training)
    return _in_known_order(data, values)


def _in_known_order(data: TaskData, values: Values) -> TaskData:
    """Orders the labels of a benchmark as the model of the options does, if they are the same labels."""
    known = known_labels(values, SequenceClassification) if data.problem == "single_label" else None
    names = known.choose(data.labels) if known else data.labels
    return reorder_labels(data, names) if names != data.labels and set(names) == set(data.labels) else data


def _path(values: Values) -> str:
    source = values["data.source"]
    if not source.startswith("files:"):
        raise UserError(f"data.source={source}: {values['task']} can only be read from files:PATH")
    return source.removeprefix("files:")


def _spans(version: Version, data: TaskData, tokenizer: Tokenizer, values: Values) -> Task:
    kind = BeamSpans if values["answers.head"] == "beam" else Spans
    return kind(
        data,
        tokenizer,
        values["data.sequence_length"],
        version=version,
        doc_stride=values["data.doc_stride"],
        max_question_length=values["data.max_question_length"],
        n_best=values["answers.n_best"],
        max_answer_length=values["answers.max_length"],
    )


def _squad(version: Version) -> Entry:
    def read(values: Values, training: bool) -> TaskData:
        source = values["data.source"]
        return read_squad(
            source if source.startswith("tfds:") else _path(values),
            version,
            eval_articles=values["data.eval_articles"],
            tfds_dir=values["data.tfds_dir"],
            training=training,
            evaluation=own_file(values, "data.eval_source"),
        )

    builtin = SPANS if version == "v1" else SPANS_V2
    return Entry(read=read, builtin=builtin, make=functools.partial(_spans, version))


def _read_nothing(values: Values, training: bool) -> TaskData:
    raise UserError(f"{values['task']} is a built-in task: its only source is data.source=builtin")


_GLUE_BUILTIN = {"cola": SENTIMENT, "sst2": SENTIMENT, "stsb": SIMILARITY}

TASKS: dict[str, Entry] = {
    **{
        name: Entry(
            read=functools.partial(_read_glue, name),
            builtin=_GLUE_BUILTIN.get(name, ENTAILMENT),
            make=_classification,
        )
        for name in GLUE
    },
    "xnli": Entry(read=_read_xnli, builtin=ENTAILMENT, make=_classification),
    "classify": Entry(read=_read_classify, builtin=SENTIMENT, make=_classification),
    "sentences": Entry(read=_read_classify, builtin=SIMILARITY, make=_sentences, kind="sentences"),
    "ner": Entry(read=_read_ner, builtin=TAGS, make=_tagging),
    "race": Entry(
        read=lambda values, training: read_race(values["data.source"], training=training),
        builtin=CHOICES,
        make=_choices,
    ),
    "swag": Entry(
        read=lambda values, training: read_swag(values["data.source"], training=training),
        builtin=CHOICES,
        make=_choices,
    ),
    "squad_v1": _squad("v1"),
    "squad_v2": _squad("v2"),
    # Built-in tasks by themselves.
    "spans": Entry(read=_read_nothing, builtin=SPANS, make=functools.partial(_spans, "v1")),
    "spans_v2": Entry(read=_read_nothing, builtin=SPANS_V2, make=functools.partial(_spans, "v2")),
    "sentiment": Entry(read=_read_nothing, builtin=SENTIMENT, make=_classification),
    "entailment": Entry(read=_read_nothing, builtin=ENTAILMENT, make=_classification),
    "similarity": Entry(read=_read_nothing, builtin=SIMILARITY, make=_classification),
    "tags": Entry(read=_read_nothing, builtin=TAGS, make=_tagging),
    "choices": Entry(read=_read_nothing, builtin=CHOICES, make=_choices),
}
