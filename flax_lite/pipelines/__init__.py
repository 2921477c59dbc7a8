"""Pipelines: functions from strings to results, with the task names, result keys and rules of Hugging Face's pipelines.

    pipe = flax_lite.pipeline("fill-mask", model=SOURCE)
    pipe(f"Paris is the {pipe.tokenizer.specials.mask} of France.")

`flax_lite.pipelines.base` has the part that they share: fixed shapes, few compilations, streams.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flax_lite.checkpoints.sentence_transformers import SentenceLayout
from flax_lite.checkpoints.sources.resolve import Source, open_source, sentence_length, sentence_transformers_layout
from flax_lite.files.reading import read_consistently
from flax_lite.layers.execution import Execution
from flax_lite.models import tasks
from flax_lite.pipelines.base import Pipeline
from flax_lite.pipelines.feature_extraction import FeatureExtraction
from flax_lite.pipelines.fill_mask import FillMask
from flax_lite.pipelines.loading import infer_task, load_for_task, models_for
from flax_lite.pipelines.options import did_you_mean
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
    for pipeline_class in (
        FillMask,
        TextClassification,
        TokenClassification,
        QuestionAnswering,
        SentenceEmbedding,
        FeatureExtraction,
    )
}


def pipeline(
    task: str | None = None,
    model: Any = None,
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
        task: "fill-mask", "text-classification" (or "sentiment-analysis"), "token-classification" (or "ner"),
            "question-answering", "sentence-embedding" or "feature-extraction". Default: the task of the model's class,
            for a SOURCE the one that config.json names in `architectures`; for an encoder without a head
            "sentence-embedding" if its SOURCE has files of sentence-transformers, or else "feature-extraction".
        model: any SOURCE (a directory, a work directory, a hub id), or a model object, which needs a `tokenizer`.
        tokenizer: a Tokenizer, or a SOURCE of one; default: the tokenizer of the model's SOURCE.
        execution: the execution config, if the model is loaded from a SOURCE.
        batch_size: maximum number of rows in a batch; smaller batches are used for a few texts, see `Pipeline`.
        tokens_per_batch: maximum number of tokens in a batch, instead of `batch_size`; see `Pipeline`.
        max_length: maximum number of tokens of a row. Default: the model's maximum, at most 384 for
            "question-answering"; for "sentence-embedding", what the files of sentence-transformers say, or else the
            tokenizer's.
        options: default options of the task for all calls: top_k, function_to_apply, targets, aggregation_strategy and
            others, as in Hugging Face's pipelines. "sentence-embedding" takes `pooling` ("mean", "cls", "max"),
            `normalize` and `similarity_fn_name`; default: what the SOURCE's files of sentence-transformers say, or else
            "mean", False and "cosine".

    Returns:
        The pipeline of the task.

    Raises:
        ValueError: if the task is unknown or cannot be inferred, the model lacks the task's head, a model object comes
            without a tokenizer, or an option is invalid.
        TypeError: if the task has no such option.
    """
    task = None if task is None else _known(task, model)
    if model is None:
        raise ValueError("a pipeline needs a model: give model=, a SOURCE or a model object")
    if hasattr(model, "config"):
        task = task or infer_task(model)
        _CLASSES[task].check_names(options, is_call=False)
        tokenizer = _check_object(model, task, tokenizer, execution)
    else:
        task, model, tokenizer, layout = read_consistently(
            Path(model).expanduser(), lambda: _load(model, task, tokenizer, execution, options)
        )
        if layout is not None:
            names = {"pooling": layout.pooling, "normalize": layout.normalize, "similarity_fn_name": layout.similarity}
            options = names | options
            max_length = max_length or layout.max_length
    pipeline_class = BeamAnswers if isinstance(model, BeamQuestionAnswering) else _CLASSES[task]
    sizes = {"batch_size": batch_size, "tokens_per_batch": tokens_per_batch, "max_length": max_length}
    return pipeline_class(model, tokenizer, **sizes, **options)


def _known(task: str, model: Any) -> str:
    """Returns the task of a name or an alias."""
    known = tasks.ALIASES.get(task, task)
    if known not in _CLASSES:
        names = (*TASKS, *tasks.ALIASES)
        hint = did_you_mean(task, names) or ("; for a model, give model=" if model is None else "")
        raise ValueError(f"task {task!r} is not known{hint}; choose from {', '.join(names)}")
    return known


def _check_object(
    model: Any, task: str, tokenizer: Tokenizer | Source | None, execution: Execution | None
) -> Tokenizer:
    """Checks a model object against the task, and returns its tokenizer."""
    models = models_for(task)
    if not isinstance(model, models):
        raise ValueError(f"{task} needs a {models[0].__name__}, got a {type(model).__name__}")
    if tokenizer is None:
        raise ValueError("a model object has no tokenizer; give tokenizer=, a Tokenizer or a SOURCE of one")
    if execution is not None:
        raise ValueError("execution is for a model that is loaded from a SOURCE; a model object has its own")
    return _open_tokenizer(tokenizer)


def _load(
    source: Source,
    task: str | None,
    tokenizer: Tokenizer | Source | None,
    execution: Execution | None,
    options: Mapping[str, Any],
) -> tuple[str, Any, Tokenizer, SentenceLayout | None]:
    """Returns the task, the model, its tokenizer and, for sentence embeddings, the pooling of the directory."""
    layout, checkpoint = None, source
    if task is None:
        checkpoint = open_source(source)
        task = infer_task(checkpoint)
        if task == FeatureExtraction.task and sentence_transformers_layout(source) is not None:
            task = SentenceEmbedding.task
    _CLASSES[task].check_names(options, is_call=False)
    if task == SentenceEmbedding.task:
        layout = sentence_transformers_layout(source) or SentenceLayout(max_length=sentence_length(source))
    opened = _open_tokenizer(source if tokenizer is None else tokenizer)
    return task, load_for_task(checkpoint, task, execution), opened, layout


def _open_tokenizer(given: Tokenizer | Source) -> Tokenizer:
    return given if isinstance(given, Tokenizer) else load_tokenizer(str(given))
