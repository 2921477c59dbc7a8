"""The rows of an ablation study, and their results as a table and a plot."""

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from flax_lite.checkpoints.sources.resolve import source_config
from flax_lite.models.flops import distillation_cost
from flax_lite.tokenization import Tokenizer, load_tokenizer
from train.data.tokenizers import load_requested, requested_tokenizer
from train.errors import UserError
from train.jobs import build
from train.options import schema
from train.options.tables import RANDOM

Scores = Mapping[str, Sequence[Mapping[str, float]]]
_SHOWN = {
    "mlm_loss": ("masked-LM loss, nats", ".3f"),
    "mlm_accuracy": ("accuracy", ".1%"),
    "soft_cross_entropy_loss": ("KL divergence from the teacher", ".4f"),
    "cosine_loss": ("cosine distance of hidden states", ".4f"),
}


@dataclasses.dataclass(frozen=True)
class Row:
    """A variation of the full recipe.

    Attributes:
        name: its name in the table.
        directory: the prefix of its work directories.
        changes: options that differ from the full recipe, as text.
    """

    name: str
    directory: str
    changes: Mapping[str, str]


def rows(values: Mapping[str, Any]) -> Iterator[Row]:
    """Yields the rows of a recipe, in the order in which they run."""
    used = [name for name, weight in schema.group(values, "losses").items() if weight]
    yield Row("full recipe", "whole", {})
    if len(used) > 1:
        for name in used:
            yield Row(f"without {name}", f"without_{name}", {f"losses.{name}": "0"})
    random_init = {"student.init": "random", "student.layers": "()"}
    if values["student.init"] == "teacher" and values["init_from"] is None:
        yield Row("random initialization", "random_start", random_init)
    if "mlm" not in used:
        return
    mlm_only = {f"losses.{name}": "0" for name in used if name != "mlm"}
    if values["student.init"] == "teacher" and values["init_from"] is None:
        yield Row("teacher's layers, then masked LM only", "start_only", mlm_only)
    yield Row("no teacher, as many steps", "no_teacher", mlm_only | random_init)
    if values["teacher"] not in (None, RANDOM):
        steps = math.ceil(values["total_steps"] * _cost(values))
        name = f"no teacher, as much compute ({steps} steps)"
        yield Row(name, "no_teacher_longer", mlm_only | random_init | {"total_steps": str(steps)})


def _cost(values: Mapping[str, Any]) -> float:
    """Returns the operations of a distillation step over those of a step without the teacher."""
    length, slots = values["data.sequence_length"], values["data.max_predictions"]
    try:
        teacher = source_config(values["teacher"])
        found = load_requested(requested_tokenizer(values), None)
        # A tokenizer that has yet to be trained has to equal the teacher's.
        tokenizer = found if isinstance(found, Tokenizer) else load_tokenizer(values["teacher"])
    except ValueError as error:
        raise UserError(f"the compute of a student without its teacher is unknown: {error}") from error
    student = build.model_config(values, tokenizer, base=teacher, vocab_size=teacher.vocab_size)
    return distillation_cost(student, teacher, length, slots / length)


def table(scores: Scores) -> list[str]:
    """Returns lines of Markdown: for each row the mean over the seeds, and their range."""
    shown = [name for name in _SHOWN if all(name in run for runs in scores.values() for run in runs)]
    lines = ["| | " + " | ".join(_SHOWN[name][0] for name in shown) + " |", "|---" * (len(shown) + 1) + "|"]
    for row, runs in scores.items():
        cells = []
        for name in shown:
            found, form = [run[name] for run in runs], _SHOWN[name][1]
            span = f" ({min(found):{form}} to {max(found):{form}})" if len(found) > 1 else ""
            cells.append(f"{sum(found) / len(found):{form}}{span}")
        lines.append(f"| {row} | " + " | ".join(cells) + " |")
    return lines


def draw(scores: Scores, path: Path) -> None:
    """Plots a dot for each run: held-out masked-LM loss, and the KL divergence from the teacher if it was measured."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # needs no display, whatever the user's settings
    from matplotlib.figure import Figure

    shown = [name for name in ("mlm_loss", "soft_cross_entropy_loss") if all(name in r[0] for r in scores.values())]
    shown = shown or ["loss"]
    figure = Figure(figsize=(5 * len(shown) + 2, 0.5 * len(scores) + 1.5), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    for axes, name in zip(figure.subplots(1, len(shown), sharey=True, squeeze=False)[0], shown, strict=True):
        for place, runs in enumerate(scores.values()):
            found = [run[name] for run in runs]
            axes.plot(found, [place] * len(found), "o", color="#0072B2", alpha=0.5, markersize=5)
            axes.plot([sum(found) / len(found)], [place], "|", color="#D55E00", markersize=16, markeredgewidth=2)
        axes.set_yticks(range(len(scores)), list(scores))
        axes.set_xlabel(f"{_SHOWN[name][0] if name in _SHOWN else name}, held-out")
        axes.grid(axis="x", color="#E5E5E5", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].invert_yaxis()
    figure.savefig(path)
