"""What the two papers claim, beside what was measured here."""

import dataclasses
from collections.abc import Callable

from benchmarks.study.results import Figures

DISTILBERT, ALBERT = "DistilBERT (1910.01108)", "ALBERT (1909.11942)"
REPRODUCED, NOT_REPRODUCED, NOT_RUN = "reproduced", "not reproduced", "not run"


@dataclasses.dataclass(frozen=True)
class Rule:
    """When a figure reproduces a claim.

    Attributes:
        text: the rule in words.
        tolerance: relative.
        is_least: whether more than was claimed is as good.
        nothing: the figure that would be no effect at all; distances count from there.
    """

    text: str
    tolerance: float
    is_least: bool
    nothing: float = 0.0

    def holds(self, claimed: float, measured: float) -> bool:
        """Whether the measured figure is near enough."""
        apart = (measured - self.nothing) / (claimed - self.nothing) - 1
        return apart >= -self.tolerance and (self.is_least or apart <= self.tolerance)


# The papers round their sizes to one or two digits, and a time's ratio depends on machine and framework.
SIZE = Rule("within 10% of the claim", 0.10, is_least=False)
SPEED = Rule("at least 85% of the gain", 0.15, is_least=True, nothing=1.0)
SCORE = Rule("at least the claim less 1%", 0.01, is_least=True)


@dataclasses.dataclass(frozen=True)
class Claim:
    """A claim of a paper.

    Attributes:
        paper: which.
        place: where in it.
        text: what is claimed.
        claimed: the figure that the paper's own numbers give; None where nothing here is comparable with it.
        unit: how figures are written.
        measure: the same figure of what was measured, None where that was not.
        rule: when it is reproduced.
        needs: what a measurement would take.
    """

    paper: str
    place: str
    text: str
    claimed: float | None = None
    unit: str = "{:.2f} x"
    measure: Callable[[Figures], float | None] = lambda _: None
    rule: Rule | None = None
    needs: str = ""


@dataclasses.dataclass(frozen=True)
class Judged:
    """A claim, the measured figure as text, and the verdict."""

    claim: Claim
    measured: str
    verdict: str


def _over(first: float | None, second: float | None) -> float | None:
    return None if first is None or second is None else first / second


def _parameters(first: str, second: str) -> Callable[[Figures], float | None]:
    return lambda figures: _over(figures.parameters(first), figures.parameters(second))


def _less(first: str, second: str) -> Callable[[Figures], float | None]:
    def share(figures: Figures) -> float | None:
        ratio = _over(figures.parameters(first), figures.parameters(second))
        return None if ratio is None else 100 * (1 - ratio)

    return share


def _training(first: str, second: str) -> Callable[[Figures], float | None]:
    return lambda figures: _over(figures.training(first), figures.training(second))


def _megabytes(figures: Figures) -> float | None:
    return _over(figures.disk_bytes("distilbert"), 1e6)


CLAIMS = (
    Claim(
        DISTILBERT,
        "section 4",
        "40% fewer parameters than BERT-base",
        40,
        "{:.1f}%",
        _less("distilbert", "bert-base"),
        SIZE,
    ),
    Claim(
        DISTILBERT,
        "Table 3",
        "60% faster than BERT-base: STS-B dev on a CPU (Xeon E5-2690 v3) at batch 1, 410 s against 668 s",
        668 / 410,
        measure=lambda figures: _over(figures.warm_pass("bert-base"), figures.warm_pass("distilbert")),
        rule=SPEED,
        needs="the part `pass` of both rows",
    ),
    Claim(
        DISTILBERT,
        "Table 1",
        "STS-B dev: 86.9 against BERT-base's 89.0; the paper does not say which correlation, here it is Spearman's",
        100 * 86.9 / 89.0,
        "{:.1f}%",
        lambda figures: _percent(_over(figures.spearman("distilbert"), figures.spearman("bert-base"))),
        SCORE,
        "fine-tuned checkpoints of both rows",
    ),
    Claim(
        DISTILBERT,
        "section 4.1",
        "207 MB for question answering on a telephone; the paper does not say in which format, here it is float32",
        207,
        "{:.0f} MB",
        _megabytes,
        SIZE,
        "the part `disk`",
    ),
    Claim(
        DISTILBERT,
        "section 4.1",
        "71% faster than BERT-base in question answering on an iPhone 7 Plus, tokenization left out",
        needs="that telephone",
    ),
    Claim(DISTILBERT, "Table 1", "97% of BERT-base's GLUE score: 77.0 of 79.5", needs="nine fine-tuned tasks of both"),
    Claim(
        DISTILBERT,
        "Table 2",
        "SQuAD 1.1 dev F1 85.8, 86.9 distilled twice; IMDb test accuracy 92.82",
        needs="the pretrained checkpoint",
    ),
    Claim(
        DISTILBERT,
        "Table 4",
        "random initialization costs 3.69 points of GLUE, no soft targets 2.96, no cosine 1.46, no masked words 0.31",
        needs="about 90 hours of eight V100 for each row; `python -m train.ablate` takes recipes apart at small size",
    ),
    Claim(
        ALBERT,
        "Table 2",
        "9 x fewer parameters than BERT-base: 12M, 108M",
        9,
        measure=_parameters("bert-base", "albert-base"),
        rule=SIZE,
    ),
    Claim(
        ALBERT,
        "section 3.2",
        "ALBERT-large has 18 x fewer parameters than BERT-large: 18M, 334M",
        18,
        measure=_parameters("bert-large", "albert-large"),
        rule=SIZE,
    ),
    Claim(
        ALBERT,
        "Table 2",
        "ALBERT-xxlarge has 70% of BERT-large's parameters: 235M against 334M",
        70,
        "{:.1f}%",
        lambda figures: _percent(_parameters("albert-xxlarge", "bert-large")(figures)),
        SIZE,
    ),
    Claim(
        ALBERT,
        "Table 2",
        "ALBERT-base trains 1.19 x as fast as BERT-base: 5.6 x and 4.7 x BERT-large, on equally many TPUs",
        5.6 / 4.7,
        measure=_training("albert-base", "bert-base"),
        rule=SPEED,
        needs="the part `training` of both rows",
    ),
    Claim(
        ALBERT,
        "Table 2",
        "ALBERT-large trains 1.7 x as fast as BERT-large, on equally many TPUs",
        1.7,
        measure=_training("albert-large", "bert-large"),
        rule=SPEED,
        needs="`--rows albert-large bert-large --parts training`",
    ),
    Claim(
        ALBERT,
        "Table 3",
        "with shared layers, embeddings of 128 are as good as of 768: 80.1 and 79.8",
        needs="two pretrainings",
    ),
    Claim(ALBERT, "Table 4", "sharing all parameters costs 1.5 points: 80.1 against 81.6", needs="two pretrainings"),
    Claim(
        ALBERT,
        "Table 5",
        "predicting sentence order instead of the next sentence gains 0.9: 80.1 against 79.2",
        needs="two pretrainings",
    ),
    Claim(
        ALBERT,
        "Table 2",
        "ALBERT-xxlarge is better than BERT-large after as many steps, 125,000: 88.7 against 85.2",
        needs="pretraining at that size",
    ),
)


def judge(figures: Figures) -> list[Judged]:
    """Every claim with its verdict."""
    return [_judged(claim, claim.measure(figures)) for claim in CLAIMS]


def _judged(claim: Claim, measured: float | None) -> Judged:
    if measured is None or claim.claimed is None or claim.rule is None:
        return Judged(claim, "", NOT_RUN)
    verdict = REPRODUCED if claim.rule.holds(claim.claimed, measured) else NOT_REPRODUCED
    return Judged(claim, claim.unit.format(measured), verdict)


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share
