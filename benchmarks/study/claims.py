"""The claims of the two papers, and whether the measurements reproduce them."""

import dataclasses
from collections.abc import Callable

from benchmarks.study.results import Figures

DISTILBERT, ALBERT = "DistilBERT (1910.01108)", "ALBERT (1909.11942)"
REPRODUCED, NOT_REPRODUCED, NOT_RUN = "reproduced", "not reproduced", "not run"


@dataclasses.dataclass(frozen=True)
class Rule:
    """The condition under which a figure reproduces a claim.

    Attributes:
        text: the rule in words.
        tolerance: relative.
        is_least: whether any larger figure is accepted.
        baseline: the figure of no effect, from which distances are measured.
    """

    text: str
    tolerance: float
    is_least: bool
    baseline: float = 0.0

    def holds(self, claimed: float, measured: float) -> bool:
        """Returns whether the measured figure is near enough."""
        difference = (measured - self.baseline) / (claimed - self.baseline) - 1
        return difference >= -self.tolerance and (self.is_least or difference <= self.tolerance)


# The papers round sizes to one or two digits, and a ratio of times depends on machine and framework.
SIZE = Rule("within 10% of the claim", 0.10, is_least=False)
SPEED = Rule("at least 85% of the gain", 0.15, is_least=True, baseline=1.0)
SCORE = Rule("at least the claim less 1%", 0.01, is_least=True)


@dataclasses.dataclass(frozen=True)
class Claim:
    """A claim of a paper.

    Attributes:
        paper: its name and arXiv number.
        place: the table or section.
        text: the claim.
        needs: the requirements of a measurement.
        claimed: the figure by the paper's own numbers; None if no measurement here is comparable.
        unit: the format of figures.
        measure: the same figure by measurements, None without them.
        rule: the condition under which it is reproduced.
    """

    paper: str
    place: str
    text: str
    needs: str
    claimed: float | None = None
    unit: str = ""
    measure: Callable[[Figures], float | None] = lambda _: None
    rule: Rule | None = None


@dataclasses.dataclass(frozen=True)
class Judged:
    """A claim, the measured figure as text, and the verdict."""

    claim: Claim
    measured: str
    verdict: str


def _ratio(first: float | None, second: float | None, scale: float = 1) -> float | None:
    return None if first is None or second is None else scale * first / second


def _size_ratio(first: str, second: str, scale: float = 1) -> Callable[[Figures], float | None]:
    return lambda figures: _ratio(
        figures.number(first, "size", "parameters"), figures.number(second, "size", "parameters"), scale
    )


def _fewer_percent(figures: Figures) -> float | None:
    ratio = _size_ratio("distilbert", "bert-base")(figures)
    return None if ratio is None else 100 * (1 - ratio)


def _pass_ratio(figures: Figures) -> float | None:
    return _ratio(figures.number("bert-base", "pass", "warm"), figures.number("distilbert", "pass", "warm"))


def _score_ratio(figures: Figures) -> float | None:
    return _ratio(
        figures.number("distilbert", "quality", "spearman"), figures.number("bert-base", "quality", "spearman"), 100
    )


def _speed_ratio(first: str, second: str) -> Callable[[Figures], float | None]:
    return lambda figures: _ratio(figures.rate(first, "training"), figures.rate(second, "training"))


def _megabytes(figures: Figures) -> float | None:
    return _ratio(figures.number("distilbert", "disk", "bytes"), 1e6)


_PASS = "60% faster than BERT-base: STS-B dev on a CPU (Xeon E5-2690 v3) at batch 1, 410 s against 668 s"
_STS = "STS-B dev: 86.9 against BERT-base's 89.0; the paper does not say which correlation, here it is Spearman's"
_PHONE = "207 MB for question answering on a telephone; the paper does not say in which format, here it is float32"
_PHONE_SPEED = "71% faster than BERT-base in question answering on an iPhone 7 Plus, tokenization left out"
_GLUE = "97% of BERT-base's GLUE score: 77.0 of 79.5"
_SQUAD = "SQuAD 1.1 dev F1 85.8, 86.9 distilled twice; IMDb test accuracy 92.82"
_ABLATIONS = (
    "random initialization costs 3.69 points of GLUE, no soft targets 2.96, no cosine 1.46, no masked words 0.31"
)
_CHECKPOINTS = "fine-tuned checkpoints of both rows"
_HOURS = "about 90 hours of eight V100 for each row; `python -m train.ablate` takes recipes apart at small size"
_BASE_SIZE = "9 x fewer parameters than BERT-base: 12M, 108M"
_LARGE_SIZE = "ALBERT-large has 18 x fewer parameters than BERT-large: 18M, 334M"
_XXLARGE_SIZE = "ALBERT-xxlarge has 70% of BERT-large's parameters: 235M against 334M"
_BASE_SPEED = "ALBERT-base trains 1.19 x as fast as BERT-base: 5.6 x and 4.7 x BERT-large, on equally many TPUs"
_TRAINING = "the part `training` of both rows"
_LARGE_SPEED = "ALBERT-large trains 1.7 x as fast as BERT-large, on equally many TPUs"
_LARGE_PARTS = "`--rows albert-large bert-large --parts training`"
_EMBEDDINGS = "with shared layers, embeddings of 128 are as good as of 768: 80.1 and 79.8"
_SHARING = "sharing all parameters costs 1.5 points: 80.1 against 81.6"
_ORDER = "predicting sentence order instead of the next sentence gains 0.9: 80.1 against 79.2"
_XXLARGE = "ALBERT-xxlarge is better than BERT-large after as many steps, 125,000: 88.7 against 85.2"
_PERCENT, _TIMES, _MEGABYTES = "{:.1f}%", "{:.2f} x", "{:.0f} MB"
_BASE, _LARGE = ("albert-base", "bert-base"), ("albert-large", "bert-large")
CLAIMS = (
    Claim(DISTILBERT, "section 4", "40% fewer parameters than BERT-base", "", 40, _PERCENT, _fewer_percent, SIZE),
    Claim(DISTILBERT, "Table 3", _PASS, "the part `pass` of both rows", 668 / 410, _TIMES, _pass_ratio, SPEED),
    Claim(DISTILBERT, "Table 1", _STS, _CHECKPOINTS, 100 * 86.9 / 89, _PERCENT, _score_ratio, SCORE),
    Claim(DISTILBERT, "section 4.1", _PHONE, "the part `disk`", 207, _MEGABYTES, _megabytes, SIZE),
    Claim(DISTILBERT, "section 4.1", _PHONE_SPEED, "that telephone"),
    Claim(DISTILBERT, "Table 1", _GLUE, "nine fine-tuned tasks of both"),
    Claim(DISTILBERT, "Table 2", _SQUAD, "the pretrained checkpoint"),
    Claim(DISTILBERT, "Table 4", _ABLATIONS, _HOURS),
    Claim(ALBERT, "Table 2", _BASE_SIZE, "", 9, _TIMES, _size_ratio("bert-base", "albert-base"), SIZE),
    Claim(ALBERT, "section 3.2", _LARGE_SIZE, "", 18, _TIMES, _size_ratio("bert-large", "albert-large"), SIZE),
    Claim(ALBERT, "Table 2", _XXLARGE_SIZE, "", 70, _PERCENT, _size_ratio("albert-xxlarge", "bert-large", 100), SIZE),
    Claim(ALBERT, "Table 2", _BASE_SPEED, _TRAINING, 5.6 / 4.7, _TIMES, _speed_ratio(*_BASE), SPEED),
    Claim(ALBERT, "Table 2", _LARGE_SPEED, _LARGE_PARTS, 1.7, _TIMES, _speed_ratio(*_LARGE), SPEED),
    Claim(ALBERT, "Table 3", _EMBEDDINGS, "two pretrainings"),
    Claim(ALBERT, "Table 4", _SHARING, "two pretrainings"),
    Claim(ALBERT, "Table 5", _ORDER, "two pretrainings"),
    Claim(ALBERT, "Table 2", _XXLARGE, "pretraining at that size"),
)


def judge(figures: Figures) -> list[Judged]:
    """Returns every claim with its verdict."""
    return [_judged(claim, claim.measure(figures)) for claim in CLAIMS]


def _judged(claim: Claim, measured: float | None) -> Judged:
    if measured is None or claim.claimed is None or claim.rule is None:
        return Judged(claim, "", NOT_RUN)
    verdict = REPRODUCED if claim.rule.holds(claim.claimed, measured) else NOT_REPRODUCED
    return Judged(claim, claim.unit.format(measured), verdict)
