"""The README.md of a model directory: metadata for the hub, and a description for people."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from flax_lite.models.tasks import PIPELINES

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

# Tasks with another name on the hub.
_PIPELINE_TAGS = {"sentence-embedding": "sentence-similarity"}
_INPUTS = {
    "fill-mask": 'f"Paris is the {pipe.tokenizer.specials.mask} of France."',
    "question-answering": 'question="Who wrote it?", context="Ada wrote it."',
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Score:
    """A measured score.

    Attributes:
        metric: name of the metric, such as "accuracy".
        value: the measured value; 0.9 for 90%.
        dataset: common name of the data set.
        split: split of the data set.
        dataset_id: id of the data set on the hub, if it has one.
    """

    metric: str
    value: float
    dataset: str
    split: str = "dev"
    dataset_id: str | None = None


def model_card(
    name: str,
    *,
    task: str | None = None,
    description: str = "",
    license: str | None = None,
    language: str | Sequence[str] | None = None,
    library_name: str = "transformers",
    tags: Sequence[str] = (),
    base_model: str | None = None,
    datasets: Sequence[str] = (),
    scores: Sequence[Score] = (),
    settings: Mapping[str, Any] | None = None,
    command: str | None = None,
) -> str:
    """Returns the text of a README.md, starting with its metadata. Facts that are not given are left out.

    Args:
        name: name of the model, as in its hub id.
        task: a task of `flax_lite.pipeline`, for the usage example; None for an Encoder.
        description: one or more paragraphs of Markdown.
        license: an identifier of the hub, such as "apache-2.0".
        language: one or more language codes, such as "en".
        library_name: library that the hub suggests, "transformers" or "sentence-transformers".
        tags: tags in addition to "flax_lite" and "jax".
        base_model: hub id of the model that this one was fine-tuned or distilled from.
        datasets: hub ids of the training data.
        scores: measured scores.
        settings: training settings, in the order to print.
        command: the training command.

    Raises:
        ValueError: if the name is empty, or no pipeline has the task.
    """
    from huggingface_hub import ModelCardData

    _check(name, task)
    tag = None if task is None else _PIPELINE_TAGS.get(task, task)
    results = [_result(score, tag or "feature-extraction") for score in scores]
    metadata = ModelCardData(
        language=language if language is None or isinstance(language, str) else list(language),
        license=license,
        library_name=library_name,
        tags=list(dict.fromkeys(["flax_lite", "jax", *tags])),
        base_model=base_model,
        datasets=list(datasets) or None,
        metrics=list(dict.fromkeys(score.metric for score in scores)) or None,
        pipeline_tag=tag,
        model_name=name if results else None,
        eval_results=results or None,
    )
    parts = [
        f"---\n{metadata.to_yaml()}\n---",
        f"# {name}",
        description.strip(),
        *_section("Usage", _usage(name, task)),
        *_section("Results", _scores(scores)),
        *_section("Training", _training(settings or {}, command)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _check(name: str, task: str | None) -> None:
    if not name.strip():
        raise ValueError("a model card needs the name of the model")
    if task not in (None, *PIPELINES):
        raise ValueError(f"task {task!r} is not known; choose from {', '.join(PIPELINES)}")


def _result(score: Score, task_type: str) -> "EvalResult":
    from huggingface_hub import EvalResult

    return EvalResult(
        task_type=task_type,
        dataset_type=score.dataset_id or score.dataset,
        dataset_name=score.dataset,
        dataset_split=score.split,
        metric_type=score.metric,
        metric_value=score.value,
    )


def _section(title: str, body: str) -> tuple[str, ...]:
    return (f"## {title}", body) if body else ()


def _usage(name: str, task: str | None) -> str:
    if task is None:
        lines = [
            "import jax",
            "import flax_lite as fl",
            "",
            f"model = fl.Encoder.from_pretrained({name!r})",
            f"tokenizer = fl.load_tokenizer({name!r})",
            "encode = jax.jit(lambda model, batch: model(**batch).last_hidden_state)",
            'hidden = encode(model, tokenizer(["A text."], max_length=32))',
        ]
    else:
        given = _INPUTS.get(task, '"A text."')
        lines = ["import flax_lite as fl", "", f"pipe = fl.pipeline({task!r}, model={name!r})", f"print(pipe({given}))"]
    return "\n".join(["```python", *lines, "```"])


def _scores(scores: Sequence[Score]) -> str:
    rows = [(score.dataset, score.split, score.metric, f"{score.value:.4g}") for score in scores]
    return _table(("data", "split", "metric", "score"), rows)


def _training(settings: Mapping[str, Any], command: str | None) -> str:
    shown = f"```bash\n{command.strip()}\n```" if command else ""
    rows = [(setting, str(value)) for setting, value in settings.items()]
    return "\n\n".join(part for part in (shown, _table(("setting", "value"), rows)) if part)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return ""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())
