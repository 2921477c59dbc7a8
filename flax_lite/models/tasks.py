"""The one table of tasks: the class that computes each, and what Hugging Face, pipelines and exports call it."""

import dataclasses
from collections.abc import Mapping

# Axes that a batch decides on; the others are named by the field of the config that holds their size.
BATCH, LENGTH = "batch", "length"


@dataclasses.dataclass(frozen=True)
class Task:
    """A row of the table.

    Attributes:
        model: name of the class in `flax_lite.models`.
        ending: how the names of its Hugging Face classes end.
        pipeline: its name in `flax_lite.pipeline`; None where none computes it alone.
        export: its name in an exported model, Hugging Face optimum's; None where it cannot be exported.
        outputs: fields of the output of an exported model, and their axes.
    """

    model: str
    ending: str
    pipeline: str | None = None
    export: str | None = None
    outputs: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)


_PER_TOKEN = (BATCH, LENGTH)
TASKS = (
    Task(
        "Encoder",
        "Model",
        "sentence-embedding",
        "feature-extraction",
        {"last_hidden_state": (*_PER_TOKEN, "hidden_size"), "pooler_output": (BATCH, "hidden_size")},
    ),
    Task("PreTraining", "ForPreTraining"),
    Task("MaskedLM", "ForMaskedLM", "fill-mask", "fill-mask", {"logits": (*_PER_TOKEN, "vocab_size")}),
    Task(
        "SequenceClassification",
        "ForSequenceClassification",
        "text-classification",
        "text-classification",
        {"logits": (BATCH, "num_labels")},
    ),
    Task(
        "TokenClassification",
        "ForTokenClassification",
        "token-classification",
        "token-classification",
        {"logits": (*_PER_TOKEN, "num_labels")},
    ),
    Task(
        "QuestionAnswering",
        "ForQuestionAnswering",
        "question-answering",
        "question-answering",
        {"start_logits": _PER_TOKEN, "end_logits": _PER_TOKEN},
    ),
    Task("MultipleChoice", "ForMultipleChoice"),
)
PIPELINES = tuple(task.pipeline for task in TASKS if task.pipeline)
EXPORTS: Mapping[str, Task] = {task.export: task for task in TASKS if task.export}
