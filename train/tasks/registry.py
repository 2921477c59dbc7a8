"""Every task by its name: how its data is read, which built-in task stands in for it, what rows it makes."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

from flax_lite.tokenization import Tokenizer
from train.errors import UserError
from train.tasks.classification import Choices, Classification
from train.tasks.columns import Columns, read_columns
from train.tasks.examples import TaskData
from train.tasks.glue import GLUE_TASKS, read_glue
from train.tasks.multiple_choice import read_race, read_swag
from train.tasks.ner import read_ner
from train.tasks.sentences import Sentences
from train.tasks.spans import Spans
from train.tasks.squad import read_squad
from train.tasks.squad_metric import Version
from train.tasks.tagging import Tagging
from train.tasks.task import Task
from train.tasks.xnli import read_xnli

Values = Mapping[str, Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Entry:
    """A task.

    Attributes:
        read: (leaves) to its data from files or tfds.
        builtin: the built-in task of its kind.
        make: (data, tokenizer, leaves) to its rows and head.
    """

    read: Callable[[Values], TaskData]
    builtin: str
    make: Callable[[TaskData, Tokenizer, Values], Task]


def _plain(task: Callable[..., Task]) -> Callable[[TaskData, Tokenizer, Values], Task]:
    return lambda data, tokenizer, values: task(data, tokenizer, values["data.sequence_length"])


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


def _read_columns(values: Values) -> TaskData:
    columns = Columns(
        text=values["data.columns.text"],
        text_pair=values["data.columns.text_pair"],
        label=values["data.columns.label"],
        id=values["data.columns.id"],
        problem=values["data.problem"],
        separator=values["data.label_separator"],
    )
    return read_columns(_files_alone(values), columns, values["data.eval_fraction"])


def _read_sentences(values: Values) -> TaskData:
    columns = Columns(
        text=values["data.columns.text"],
        text_pair=values["data.columns.text_pair"],
        label=values["data.columns.label"],
        problem="regression",
    )
    return dataclasses.replace(
        read_columns(_files_alone(values), columns, values["data.eval_fraction"]), metrics=("spearman", "pearson")
    )


def _read_glue(task: str, values: Values) -> TaskData:
    return read_glue(task, values["data.source"], values["data.tfds_dir"])


def _read_ner(values: Values) -> TaskData:
    return read_ner(values["data.source"], values["data.tfds_dir"])


def _spans(version: Version, data: TaskData, tokenizer: Tokenizer, values: Values) -> Task:
    return Spans(
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
    def read(values: Values) -> TaskData:
        path = _files_alone(values).removeprefix("files:")
        return read_squad(path, version, eval_articles=values["data.eval_articles"])

    return Entry(read=read, builtin={"v1": "spans", "v2": "spans_v2"}[version], make=functools.partial(_spans, version))


def _read_builtin_alone(values: Values) -> TaskData:
    raise UserError(f"{values['task']} is a built-in task: data.source=builtin is its only source")


def _files_alone(values: Values) -> str:
    if not values["data.source"].startswith("files:"):
        raise UserError(f"data.source={values['data.source']}: {values['task']} is read from files:PATH alone")
    return values["data.source"]


_GLUE_BUILTIN = {"cola": "sentiment", "sst2": "sentiment", "stsb": "similarity"}
_TEXTS = _plain(Classification)

TASKS: dict[str, Entry] = {
    **{
        name: Entry(
            read=functools.partial(_read_glue, name), builtin=_GLUE_BUILTIN.get(name, "entailment"), make=_TEXTS
        )
        for name in GLUE_TASKS
    },
    "xnli": Entry(
        read=lambda values: read_xnli(_files_alone(values), values["data.language"]), builtin="entailment", make=_TEXTS
    ),
    "classify": Entry(read=_read_columns, builtin="sentiment", make=_TEXTS),
    "sentences": Entry(read=_read_sentences, builtin="similarity", make=_sentences),
    "ner": Entry(
        read=_read_ner,
        builtin="tags",
        make=_plain(Tagging),
    ),
    "race": Entry(read=lambda values: read_race(_files_alone(values)), builtin="choices", make=_plain(Choices)),
    "swag": Entry(read=lambda values: read_swag(_files_alone(values)), builtin="choices", make=_plain(Choices)),
    "squad_v1": _squad("v1"),
    "squad_v2": _squad("v2"),
    "spans": Entry(read=_read_builtin_alone, builtin="spans", make=functools.partial(_spans, "v1")),
    "spans_v2": Entry(read=_read_builtin_alone, builtin="spans_v2", make=functools.partial(_spans, "v2")),
    "sentiment": Entry(read=_read_builtin_alone, builtin="sentiment", make=_TEXTS),
    "entailment": Entry(read=_read_builtin_alone, builtin="entailment", make=_TEXTS),
    "similarity": Entry(read=_read_builtin_alone, builtin="similarity", make=_TEXTS),
    "tags": Entry(read=_read_builtin_alone, builtin="tags", make=_plain(Tagging)),
    "choices": Entry(read=_read_builtin_alone, builtin="choices", make=_plain(Choices)),
}
