"""Which encoder to take, by what is scarce."""

import dataclasses
from collections.abc import Callable, Iterable

from benchmarks.study.models import MODELS
from benchmarks.study.published import retention
from benchmarks.study.results import Figures

MODERNBERT = "https://arxiv.org/abs/2412.13663"
# DistilBERT's own measure of nearly as good: 97% of BERT-base. A little lower, so that rounding does not decide.
GOOD_ENOUGH = 0.95
# Two runs of the study on one idle machine gave one row's latency 9.5% apart (ALBERT-base, 128 tokens, 2 CPU cores).
_ALIKE = 0.10


@dataclasses.dataclass(frozen=True)
class Decision:
    """What is scarce, what to take then, why, and when something else is better."""

    scarce: str
    take: str
    why: str
    unless: str


def decide(figures: Figures, rows: Iterable[str]) -> list[Decision]:
    """The table; a choice whose figures were not measured says so."""
    rows = [row for row in rows if MODELS[row].is_compared]
    good = [row for row in rows if (share := retention(row)) is not None and share >= GOOD_ENOUGH]
    length = _middle_length(figures, rows)
    return [
        Decision(
            "disk, download, many models side by side",
            *_best(rows, figures.disk_bytes, min, _megabytes),
            "Memory while it runs is scarce: activations count there, and shared layers have as many. distilALBERT has "
            "no published checkpoint: train it (configs/distilalbert.py), or take ALBERT-base.",
        ),
        Decision(
            "memory in training",
            *_best(rows, lambda row: figures.memory(row, "training"), min, _megabytes),
            "Quality decides: recompute activations first (remat), before a smaller model.",
        ),
        Decision(
            f"latency, and {GOOD_ENOUGH:.0%} of BERT-base's published score is enough",
            *_best(good, lambda row: figures.latency(row, length), min, _milliseconds(length)),
            "The last points count: BERT-base. Or less is enough: the next line.",
        ),
        Decision(
            "latency above all",
            *_best(rows, lambda row: figures.latency(row, length), min, _milliseconds(length)),
            "Scores like those of the small rows will not do; distil them for the task first.",
        ),
        Decision(
            "throughput of training",
            *_best(rows, figures.training, max, lambda value: f"{value:,.0f} tokens a second, the most"),
            "A checkpoint exists that only needs fine-tuning.",
        ),
        Decision(
            "quality, with few parameters",
            "ALBERT-base v2, ALBERT-xxlarge v2",
            "ALBERT-base v2 has the average of the ALBERT paper's BERT-base in its five tasks, 82.3 (published), after "
            "10 million steps on more text against its 125,000; xxlarge v2 has 90.9 with 223M parameters.",
            "Time or memory while it runs is scarce too: sharing saves parameters, not work or activations; xxlarge "
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
    rows: Iterable[str],
    figure: Callable[[str], float | None],
    choose: Callable[..., str],
    told: Callable[[float], str],
) -> tuple[str, str]:
    found = {row: value for row in rows if (value := figure(row)) is not None}
    if len(found) < 2:
        return "not run", "fewer than two rows were measured"
    best = choose(found, key=lambda row: found[row])
    alike = [row for row in found if row != best and abs(found[row] / found[best] - 1) <= _ALIKE]
    take = " or ".join(MODELS[row].title for row in (best, *alike))
    near = (
        f"; the other within {_ALIKE:.0%} of it"
        if len(alike) == 1
        else f"; the others within {_ALIKE:.0%}"
        if alike
        else ""
    )
    return take, f"{told(found[best])}, of {len(found)} measured{near}"


def _megabytes(value: float) -> str:
    return f"{value / 1e6:,.0f} MB, the least"


def _milliseconds(length: str) -> Callable[[float], str]:
    return lambda value: f"{1000 * value:.1f} ms for a row of {length} tokens, the least"


def _middle_length(figures: Figures, rows: Iterable[str]) -> str:
    """The middle one of the lengths that were measured."""
    parts = (figures.part(row, "latency") for row in rows)
    lengths = next((list(part["seconds"]) for part in parts if part), ["128"])
    return lengths[len(lengths) // 2]
