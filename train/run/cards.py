"""The model card of a finished run."""

from collections.abc import Mapping
from pathlib import Path

from flax_lite.checkpoints.sources.hub import parse_hub_id
from flax_lite.exporting.model_card import Score, model_card
from train.options.request import Request

# What a reader asks first; the rest is in the work directory's config.json.
_SETTINGS = (
    "task",
    "teacher",
    "total_steps",
    "batch_size",
    "seed",
    "data.source",
    "data.sequence_length",
    "optimizer.name",
    "optimizer.learning_rate",
    "optimizer.warmup_steps",
    "optimizer.weight_decay",
)


def run_card(request: Request, task: str, step: int, evaluation: Mapping[str, float]) -> str:
    """README.md of the model that a run made.

    Args:
        request: what the run was asked for.
        task: a task of `flax_lite.pipeline`.
        step: the step that the model is of.
        evaluation: its held-out metrics.
    """
    values = request.values
    data = values.get("task") or values["data.source"]
    if values.get("task") and values["data.source"] == "builtin":  # what stands in for a benchmark is not the benchmark
        data = f"built-in data for {data}"
    bases = [values[name] for name in ("init_from", "teacher") if values.get(name)]
    base = next((source for source in bases if parse_hub_id(source) and not Path(source).exists()), None)
    return model_card(
        request.workdir.name,
        task=task,
        description=f"Made by train.{request.job} of flax_lite; step {step} of {values['total_steps']}.",
        base_model=base,
        scores=[Score(metric=n, value=v, dataset=str(data), split="held out") for n, v in evaluation.items()],
        settings={name: values[name] for name in _SETTINGS if values.get(name) is not None},
        command=request.command(extend=False),
    )
