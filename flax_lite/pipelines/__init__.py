"""Pipelines: functions from strings to results, with the task names, result keys and rules of Hugging Face's pipelines.

    pipe = flax_lite.pipeline("fill-mask", model=SOURCE)
    pipe(f"Paris is the {pipe.tokenizer.specials.mask} of France.")

`flax_lite.pipelines.base` has the part that they share: fixed shapes, few compilations, streams.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from flax_lite.checkpoints.sentence_transformers import SentenceLayout
from flax_lite.checkpoints.sources.resolve import Source, sentence_length, sentence_transformers_layout
from flax_lite.files.reading import read_consistently
from flax_lite.layers.execution import Execution
from flax_lite.models import tasks
from flax_lite.models.contents import model_class
from flax_lite.models.heads import PreTraining
from flax_lite.pipelines.base import Pipeline
from flax_lite.pipelines.fill_mask import FillMask
from flax_lite.pipelines.loading import load_for_task
from flax_lite.pipelines.question_answering import BeamAnswers, QuestionAnswering
from flax_lite.pipelines.sentence_embedding import SentenceEmbedding
from flax_lite.pipelines.text_classification import TextClassification
from flax_lite.pipelines.token_classification import TokenClassification
from flax_lite.question_answering.beam import BeamQuestionAnswering
from flax_lite.tokenization import Tokenizer, load_tokenizer

__all__ = ["TASKS", "Pipeline", "pipeline"]

TASKS = tasks.PIPELINES

_CLASSES: Mapping[str, type[Pipeline[Any]]] = {
    pipeline_class.task: pipeline_class
    for pipeline_class in (FillMask, TextClassification, TokenClassification, QuestionAnswering, SentenceEmbedding)
}
# Models that a task accepts in addition to the one in the table of tasks.
_OTHER_MODELS = {FillMask.task: (PreTraining,), QuestionAnswering.task: (BeamQuestionAnswering,)}


def pipeline(
    task: str,
    model: Any,
    *,
    tokenizer: Tokenizer | Source | None = None,
    execution: Execution | None = None,
    batch_size: int | None = None,
    tokens_per_batch: int | None = None,
    max_length: int | None = None,
    **options: Any,
) -> Pipeline[Any]:
    """Creates a function from strings to results out of a model and its tokenizer.

    Args:
        task: "fill-mask", "text-classification", "token-classification", "question-answering" or "sentence-embedding".
        model: any SOURCE (a directory, a work directory, a hub id), or a model object, which needs a `tokenizer`.
        tokenizer: a Tokenizer, or a SOURCE of one; default: the tokenizer of the model's SOURCE.
        execution: the execution config, if the model is loaded from a SOURCE.
        batch_size: maximum number of rows in a batch; smaller batches are used for a few texts, see `Pipeline`.
        tokens_per_batch: maximum number of tokens in a batch, instead of `batch_size`; see `Pipeline`.
        max_length: maximum number of tokens of a row. Default: the model's maximum, at most 384 for
            "question-answering"; for "sentence-embedding", what the files of sentence-transformers say, or else the
            tokenizer's.
        options: default options of the task for all calls: top_k, function_to_apply, targets, aggregation_strategy and
            others, as in Hugging Face's pipelines. "sentence-embedding" takes `pooling` ("mean", "cls", "max") and
            `normalize`; default: what the SOURCE's modules.json says, or else "mean" and False.

    Returns:
        The pipeline of the task.

    Raises:
        ValueError: if the task is unknown, the model lacks the task's head, a model object comes without a tokenizer,
            or an option is invalid.
        TypeError: if the task has no such option.
    """
    if task not in _CLASSES:
        raise ValueError(f"task {task!r} is not known; choose from {', '.join(TASKS)}")
    pipeline_class = _CLASSES[task]
    models = (*(model_class(row) for row in tasks.TASKS if row.pipeline == task), *_OTHER_MODELS.get(task, ()))
    if hasattr(model, "config"):
        if not isinstance(model, models):
            raise ValueError(f"{task} needs a {models[0].__name__}, got a {type(model).__name__}")
        if tokenizer is None:
            raise ValueError("a model object has no tokenizer; give tokenizer=, a Tokenizer or a SOURCE of one")
        if execution is not None:
            raise ValueError("execution is for a model that is loaded from a SOURCE; a model object has its own")
        tokenizer = _open_tokenizer(tokenizer)
    else:
        model, tokenizer, layout = read_consistently(
            Path(model).expanduser(), lambda: _load(model, task, tokenizer, models, execution)
        )
        if layout is not None:
            options = {"pooling": layout.pooling, "normalize": layout.normalize} | options
            max_length = max_length or layout.max_length
    if isinstance(model, BeamQuestionAnswering):
        pipeline_class = BeamAnswers
    sizes = {"batch_size": batch_size, "tokens_per_batch": tokens_per_batch, "max_length": max_length}
    return pipeline_class(model, tokenizer, **sizes, **options)


def _load(
    source: Source, task: str, tokenizer: Tokenizer | Source | None, models: Sequence[Any], execution: Execution | None
) -> tuple[Any, Tokenizer, SentenceLayout | None]:
    """Returns the model, its tokenizer and, for sentence embeddings, the pooling that the directory specifies."""
    layout = None
    if task == SentenceEmbedding.task:
        layout = sentence_transformers_layout(source) or SentenceLayout(max_length=sentence_length(source))
    opened = _open_tokenizer(source if tokenizer is None else tokenizer)
    return load_for_task(source, task, models, execution), opened, layout


def _open_tokenizer(given: Tokenizer | Source) -> Tokenizer:
    return given if isinstance(given, Tokenizer) else load_tokenizer(str(given))
