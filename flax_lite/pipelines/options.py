"""Checks of options: whole numbers, and names, with hints for those of other libraries."""

import difflib
from collections.abc import Collection, Mapping
from typing import Any

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
    "normalize_embeddings": "give pipeline() normalize=True",
    "text_pair": 'give {"text": ..., "text_pair": ...}',
}


def check_count(name: str, value: Any, minimum: int = 1, expected: str = "") -> None:
    """Raises ValueError, with what is expected, if a value is not a whole number of at least `minimum`."""
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    if not is_whole or value < minimum:
        expected = expected or f"{'' if is_whole else 'a whole number, '}at least {minimum}"
        raise ValueError(f"{name}={value!r:.50}; expected {expected}")


def check_names(
    given: Collection[str], task: str, call_options: Collection[str], pipeline_options: Collection[str] = ()
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
    close = difflib.get_close_matches(name, [*call_options, *pipeline_options, *STREAM_OPTIONS], n=1)
    return f"there is no {name}" + (f", did you mean {close[0]}?" if close else "")
