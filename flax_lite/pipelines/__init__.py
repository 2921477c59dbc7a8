"""Strings in, results out: pipelines with the names, keys and rules of Hugging Face's.

    pipe = flax_lite.pipeline("fill-mask", model=SOURCE)
    pipe(f"Paris is the {pipe.tokenizer.specials.mask} of France.")

What they share (fixed shapes, few compilations, streams) is in `flax_lite.pipelines.base`.
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
    each.task: each
    for each in (FillMask, TextClassification, TokenClassification, QuestionAnswering, SentenceEmbedding)
}
# Models that compute a task beside the one that the table names for it.
_OTHERS = {FillMask.task: (PreTraining,), QuestionAnswering.task: (BeamQuestionAnswering,)}


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
    """A model and its tokenizer as a function of strings.

    Args:
        task: "fill-mask", "text-classification", "token-classification", "question-answering" or
            "sentence-embedding".
        model: any SOURCE (a directory, a work directory, a hub id), or a model, which needs a `tokenizer` then.
        tokenizer: a Tokenizer, or a SOURCE of one; the model's own if None.
        execution: how to compute a model that is read.
        batch_size: rows of every batch; 1 answers a single text soonest.
        tokens_per_batch: or tokens of every batch; see `flax_lite.pipelines.base.Pipeline`.
        max_length: of a row, in tokens. Default: as many as the model takes; of "sentence-embedding", as the files of
            sentence-transformers say, or the tokenizer's where these are not there.
        options: of the task, for all calls that do not say otherwise: top_k, function_to_apply, targets,
            aggregation_strategy and others, as in Hugging Face's pipelines. "sentence-embedding" takes `pooling`
            ("mean", "cls", "max") and `normalize`; by default, those that the SOURCE's modules.json names, else
            "mean" and False.

    Raises:
        ValueError: for an unknown task, a model without the task's head, a model without a tokenizer, or options that
            make no sense.
        TypeError: for an option that the task does not have.
    """
    if task not in _CLASSES:
        raise ValueError(f"task {task!r} is not known; choose from {', '.join(TASKS)}")
    pipeline_class = _CLASSES[task]
    models = (*(model_class(row) for row in tasks.TASKS if row.pipeline == task), *_OTHERS.get(task, ()))
    sizes = {"batch_size": batch_size, "tokens_per_batch": tokens_per_batch, "max_length": max_length}
    if hasattr(model, "config"):
        if not isinstance(model, models):
            raise ValueError(f"{task} needs a {models[0].__name__}, got a {type(model).__name__}")
        if tokenizer is None:
            raise ValueError("a model object has no tokenizer with it; give tokenizer=, a Tokenizer or where it is")
        if execution is not None:
            raise ValueError("execution belongs to a model that is read; this one has been made with its own")
        return _made(pipeline_class, model, _tokenizer(tokenizer), **sizes, **options)
    loaded, reads, layout = read_consistently(
        Path(model).expanduser(), lambda: _read(task, model, tokenizer, models, execution)
    )
    if layout is not None:
        options = {"pooling": layout.pooling, "normalize": layout.normalize} | options
        sizes["max_length"] = max_length or layout.max_length
    return _made(pipeline_class, loaded, reads, **sizes, **options)


def _read(
    task: str, source: Source, tokenizer: Tokenizer | Source | None, models: Sequence[Any], execution: Execution | None
) -> tuple[Any, Tokenizer, SentenceLayout | None]:
    """A model, its tokenizer and, where vectors are made, how the directory says that they are."""
    layout = None
    if task == SentenceEmbedding.task:
        layout = sentence_transformers_layout(source) or SentenceLayout(max_length=sentence_length(source))
    reads = _tokenizer(source if tokenizer is None else tokenizer)
    return load_for_task(source, task, models, execution), reads, layout


def _made(pipeline_class: type[Pipeline[Any]], model: Any, *arguments: Any, **options: Any) -> Pipeline[Any]:
    chosen = BeamAnswers if isinstance(model, BeamQuestionAnswering) else pipeline_class
    return chosen(model, *arguments, **options)


def _tokenizer(given: Tokenizer | Source) -> Tokenizer:
    return given if isinstance(given, Tokenizer) else load_tokenizer(str(given))
