"""Checks of options: sizes, and names, with hints for those of other libraries."""

import difflib
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import jax

from flax_lite.rows.buckets import rows_by_budget

# Default tokens per batch: an accelerator needs many at once, a CPU is busy with few.
_CPU_TOKENS, _ACCELERATOR_TOKENS = 512, 16384

# Arguments of `flax_lite.pipeline` for every task, of `Pipeline.stream` only, and of calls of every task.
PIPELINE_OPTIONS = ("tokenizer", "execution", "batch_size", "tokens_per_batch", "max_length")
STREAM_OPTIONS = ("chunk_size",)
CALL_OPTIONS = ("batch_size",)
# Option names of transformers and sentence-transformers, and what to use here instead.
_OTHER_LIBRARIES: Mapping[str, str] = {
    **dict.fromkeys(
        ("device", "device_map"), "JAX computes on its default device, or on the devices of a model object"
    ),
    **dict.fromkeys(("dtype", "torch_dtype"), "give pipeline() execution=Execution(dtype=...)"),
    **dict.fromkeys(("truncation", "padding"), "texts are padded, and truncated to the max_length of pipeline()"),
    "max_seq_len": "give pipeline() a max_length",
    "grouped_entities": "give aggregation_strategy='simple'",
    "return_all_scores": "give top_k=None",
    "stride": (
        "question-answering splits long contexts into windows by doc_stride; other texts are truncated to the "
        "max_length of pipeline()"
    ),
    "truncate_dim": "take the first columns of the result",
    "normalize_embeddings": "give pipeline() normalize=True, or call encode()",
    **dict.fromkeys(
        ("convert_to_numpy", "convert_to_tensor", "output_value", "precision"), "vectors are float32 NumPy arrays"
    ),
    **dict.fromkeys(("prompt", "prompt_name"), "prepend the prompt to the texts"),
    "text_pair": 'give {"text": ..., "text_pair": ...}',
}


def check_count(name: str, value: Any, minimum: int = 1, expected: str = "") -> None:
    """Raises ValueError, with what is expected, if a value is not a whole number of at least `minimum`."""
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    if not is_whole or value < minimum:
        expected = expected or f"{'' if is_whole else 'a whole number, '}at least {minimum}"
        raise ValueError(f"{name}={value!r:.50}; expected {expected}")


def check_max_length(given: int | None, limit: int) -> int:
    """Returns the maximum length of a row: the given one, or by default the number of the model's positions.

    Raises:
        ValueError: if it does not hold a token next to two special tokens, or exceeds the positions.
    """
    if given is None:
        return limit
    check_count("max_length", given)
    if not 3 <= given <= limit:
        raise ValueError(f"max_length={given}; expected 3 to {limit}, the number of the model's positions")
    return given


def rows_per_batch(
    buckets: Sequence[int], batch_size: int | None, tokens_per_batch: int | None = None
) -> dict[int, int]:
    """Returns the maximum number of rows in a batch of each bucket, by default those of a default number of tokens.

    Raises:
        ValueError: if both are given, or one is invalid.
    """
    if batch_size is not None and tokens_per_batch is not None:
        raise ValueError(f"batch_size={batch_size} and tokens_per_batch={tokens_per_batch}: give one of the two")
    if batch_size is None:
        default = _CPU_TOKENS if jax.default_backend() == "cpu" else _ACCELERATOR_TOKENS
        return rows_by_budget(buckets, max(default, buckets[-1]) if tokens_per_batch is None else tokens_per_batch)
    check_count("batch_size", batch_size)
    return dict.fromkeys(buckets, batch_size)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Returns ", did you mean X?" with the known name that is closest to `name`; "" if none is close."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f", did you mean {close[0]}?" if close else ""


def check_names(
    given: Iterable[str], task: str, call_options: Collection[str], pipeline_options: Collection[str] = ()
) -> None:
    """Raises TypeError for options that a call does not take, with a hint for each and the options that exist.

    Args:
        given: names of the given options.
        task: the task of the pipeline.
        call_options: options of the task's calls; `flax_lite.pipeline` takes them as defaults.
        pipeline_options: options of the task for `flax_lite.pipeline` only.
    """
    wrong = [name for name in given if name not in call_options]
    if wrong:
        pipeline_options = (*PIPELINE_OPTIONS, *pipeline_options)
        hints = "; ".join(_hint(name, call_options, pipeline_options) for name in wrong)
        calls = ", ".join((*call_options, *CALL_OPTIONS))
        raise TypeError(
            f"{task} takes no {' and no '.join(wrong)} here: {hints}. A call takes {calls}; "
            f"stream() also {', '.join(STREAM_OPTIONS)}; pipeline() also {', '.join(pipeline_options)}"
        )


def _hint(name: str, call_options: Collection[str], pipeline_options: Collection[str]) -> str:
    for function, names in (("pipeline()", pipeline_options), ("stream()", STREAM_OPTIONS)):
        if name in names:
            return f"{name} belongs to {function}"
    if name in _OTHER_LIBRARIES:
        return f"for {name}, {_OTHER_LIBRARIES[name]}"
    return f"there is no {name}" + did_you_mean(name, (*call_options, *pipeline_options, *STREAM_OPTIONS))
