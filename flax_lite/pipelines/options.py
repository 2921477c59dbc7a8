"""Options of tasks: numbers that are some, and names in their place."""

import difflib
from collections.abc import Collection, Mapping
from typing import Any

# What `flax_lite.pipeline` takes for every task, and `Pipeline.stream` beside the options of a call.
OF_PIPELINE = ("tokenizer", "execution", "batch_size", "tokens_per_batch", "max_length")
OF_STREAM = ("chunk_size",)
# Names by which transformers and sentence-transformers know what has another name or place here.
_ELSEWHERE: Mapping[str, str] = {
    **dict.fromkeys(("device", "device_map"), "JAX computes on its default device, a model object where it lies"),
    **dict.fromkeys(("dtype", "torch_dtype"), "give pipeline() execution=Execution(dtype=...)"),
    **dict.fromkeys(("truncation", "padding"), "texts are padded, and cut to the max_length of pipeline()"),
    "max_seq_len": "give pipeline() a max_length",
    "grouped_entities": "give aggregation_strategy='simple'",
    "return_all_scores": "give top_k=None",
    "stride": "a long context is read in windows by doc_stride, other texts are cut to the max_length of pipeline()",
    "truncate_dim": "take the first columns of the result",
    "normalize_embeddings": "give pipeline() normalize=True",
    "text_pair": 'give {"text": ..., "text_pair": ...}',
}


def check_count(name: str, value: Any, least: int = 1, expected: str = "") -> None:
    """Raises ValueError, which says what is expected, for what is no whole number from `least` on."""
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    if not is_whole or value < least:
        expected = expected or f"{'' if is_whole else 'a whole number, '}at least {least}"
        raise ValueError(f"{name}={value!r:.50}; expected {expected}")


def check_names(given: Collection[str], task: str, of_calls: Collection[str], of_task: Collection[str] = ()) -> None:
    """Raises TypeError for options that a call does not take, with those that it does and where others belong.

    Args:
        given: names.
        task: of the pipeline.
        of_calls: what the task's calls take, and `flax_lite.pipeline` for all of them.
        of_task: what `flax_lite.pipeline` alone takes for this task, beside what it takes for every one.
    """
    wrong = [name for name in given if name not in of_calls]
    if wrong:
        of_pipeline = (*OF_PIPELINE, *of_task)
        reasons = "; ".join(_reason(name, of_calls, of_pipeline) for name in wrong)
        calls = ", ".join(of_calls) or "no options"
        raise TypeError(
            f"{task} takes no {' and no '.join(wrong)} here: {reasons}. A call takes {calls}; "
            f"stream() also {', '.join(OF_STREAM)}; pipeline() also {', '.join(of_pipeline)}"
        )


def _reason(name: str, of_calls: Collection[str], of_pipeline: Collection[str]) -> str:
    for place, names in (("pipeline()", of_pipeline), ("stream()", OF_STREAM)):
        if name in names:
            return f"{name} belongs to {place}"
    if name in _ELSEWHERE:
        return f"for {name}, {_ELSEWHERE[name]}"
    near = difflib.get_close_matches(name, [*of_calls, *of_pipeline, *OF_STREAM], n=1)
    return f"there is no {name}" + (f", did you mean {near[0]}?" if near else "")
