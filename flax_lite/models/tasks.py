"""The table of tasks: model classes and their names in Hugging Face, pipelines and exports."""

import dataclasses
import itertools
from collections.abc import Mapping

# Axes whose size depends on the batch; other axes have the name of the config field with their size.
BATCH, LENGTH = "batch", "length"


@dataclasses.dataclass(frozen=True)
class Task:
    """A row of the table of tasks.

    Attributes:
        model: name of the class in `flax_lite.models`.
        ending: suffix of its Hugging Face class names.
        pipelines: names in `flax_lite.pipeline`.
        export: name of the task in Hugging Face optimum, for exported models; None if it cannot be exported.
        outputs: fields of the output of an exported model, with their axes.
    """

    model: str
    ending: str
    pipelines: tuple[str, ...] = ()
    export: str | None = None
    outputs: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)


_PER_TOKEN = (BATCH, LENGTH)
TASKS = (
    Task(
        "Encoder",
        "Model",
        ("sentence-embedding", "feature-extraction"),
        "feature-extraction",
        {"last_hidden_state": (*_PER_TOKEN, "hidden_size"), "pooler_output": (BATCH, "hidden_size")},
    ),
    Task("PreTraining", "ForPreTraining"),
    Task("MaskedLM", "ForMaskedLM", ("fill-mask",), "fill-mask", {"logits": (*_PER_TOKEN, "vocab_size")}),
    Task(
        "SequenceClassification",
        "ForSequenceClassification",
        ("text-classification",),
        "text-classification",
        {"logits": (BATCH, "num_labels")},
    ),
    Task(
        "TokenClassification",
        "ForTokenClassification",
        ("token-classification",),
        "token-classification",
        {"logits": (*_PER_TOKEN, "num_labels")},
    ),
    Task(
        "QuestionAnswering",
        "ForQuestionAnswering",
        ("question-answering",),
        "question-answering",
        {"start_logits": _PER_TOKEN, "end_logits": _PER_TOKEN},
    ),
    Task("MultipleChoice", "ForMultipleChoice"),
)
PIPELINES = tuple(itertools.chain.from_iterable(task.pipelines for task in TASKS))
# Other names of pipelines, as in transformers (pipelines/__init__.py, TASK_ALIASES).
ALIASES: Mapping[str, str] = {"ner": "token-classification", "sentiment-analysis": "text-classification"}
EXPORTS: Mapping[str, Task] = {task.export: task for task in TASKS if task.export}
