"""The choice of an encoder, by the scarce resource."""

import dataclasses
from collections.abc import Callable, Sequence

from benchmarks.study.models import MODELS
from benchmarks.study.published import retention
from benchmarks.study.results import Figures

MODERNBERT = "https://arxiv.org/abs/2412.13663"
# DistilBERT's paper calls 97% of BERT-base nearly as good. A little lower, so that rounding does not decide.
GOOD_ENOUGH = 0.95
# Two runs of the study on one idle machine differed by 9.5% in one latency (ALBERT-base, 128 tokens, 2 CPU cores).
_ALIKE = 0.10


@dataclasses.dataclass(frozen=True)
class Decision:
    """A scarce resource, the encoder to take, the reason, and the exceptions."""

    scarce: str
    take: str
    why: str
    unless: str


def decide(figures: Figures, rows: Sequence[str]) -> list[Decision]:
    """Returns the table; a choice whose figures were not measured is "not run"."""
    rows = [row for row in rows if MODELS[row].is_compared]
    good = [row for row in rows if (share := retention(row)) is not None and share >= GOOD_ENOUGH]
    length = figures.middle_length(rows)
    return [
        Decision(
            "disk, download, many models side by side",
            *_best(rows, lambda row: figures.number(row, "disk", "bytes"), min, _megabytes),
            "Memory at run time is scarce: activations count there, and shared layers have as many. distilALBERT has "
            "no published checkpoint: train it (configs/distilalbert.py), or take ALBERT-base.",
        ),
        Decision(
            "memory in training",
            *_best(rows, lambda row: figures.number(row, "training_memory", "bytes"), min, _megabytes),
            "Quality decides: recompute activations first (remat), before a smaller model.",
        ),
        Decision(
            f"latency, and {GOOD_ENOUGH:.0%} of BERT-base's published score is enough",
            *_best(good, lambda row: figures.number(row, "latency", "seconds", length), min, _milliseconds(length)),
            "The last points count: BERT-base. Or less is enough: the next line.",
        ),
        Decision(
            "latency above all",
            *_best(rows, lambda row: figures.number(row, "latency", "seconds", length), min, _milliseconds(length)),
            "Scores like those of the small rows will not do; distil them for the task first.",
        ),
        Decision(
            "throughput of training",
            *_best(
                rows,
                lambda row: figures.rate(row, "training"),
                max,
                lambda value: f"{value:,.0f} tokens a second, the most",
            ),
            "A checkpoint exists that only needs fine-tuning.",
        ),
        Decision(
            "quality, with few parameters",
            "ALBERT-base v2, ALBERT-xxlarge v2",
            "ALBERT-base v2 has the average of the ALBERT paper's BERT-base in its five tasks, 82.3 (published), after "
            "10 million steps on more text against its 125,000; xxlarge v2 has 90.9 with 223M parameters.",
            "Time or memory at run time is scarce too: sharing saves parameters, not work or activations; xxlarge "
            "trained at 0.3 x BERT-large's speed.",
        ),
        Decision(
            "quality, long rows, retrieval, new projects on GPUs",
            "ModernBERT",
            "Rows up to 8192 tokens where all encoders here end at 512; unpadded batches, alternating local attention "
            "and flash kernels; its base size has 88.4 on GLUE and 41.6 on BEIR (single vectors), BERT-base 84.7 and "
            f"38.9, in its paper ({MODERNBERT}, Table 1). Published, not measured here, and not in this library.",
            "A checkpoint or vocabulary of this family is needed; languages other than English; no GPU (its "
            "speed was measured on one); rows that all have 512 tokens, where BERT-base was faster (Table 2 there).",
        ),
    ]


def _best(
    rows: Sequence[str], figure: Callable[[str], float | None], choose: Callable[..., str], text: Callable[[float], str]
) -> tuple[str, str]:
    found = {row: value for row in rows if (value := figure(row)) is not None}
    if len(found) < 2:
        return "not run", "fewer than two rows were measured"
    best = choose(found, key=lambda row: found[row])
    alike = [row for row in found if row != best and abs(found[row] / found[best] - 1) <= _ALIKE]
    take = " or ".join(MODELS[row].title for row in (best, *alike))
    near = ("", f"; the other within {_ALIKE:.0%} of it", f"; the others within {_ALIKE:.0%}")[min(len(alike), 2)]
    return take, f"{text(found[best])}, of {len(found)} measured{near}"


def _megabytes(value: float) -> str:
    return f"{value / 1e6:,.0f} MB, the least"


def _milliseconds(length: str) -> Callable[[float], str]:
    return lambda value: f"{1000 * value:.1f} ms for a row of {length} tokens, the least"
