"""Published scores, for rows without a checkpoint here; none of them is measured here.

Sources average different tasks, so a score may be compared only with BERT-base's score in the same source.
"""

import dataclasses
from collections.abc import Mapping


@dataclasses.dataclass(frozen=True)
class Source:
    """A publication of scores.

    Attributes:
        citation: authors, year and table.
        url: its address.
        tasks: the tasks that are averaged.
        bert_base: BERT-base's score there; None if it is not given.
    """

    citation: str
    url: str
    tasks: str
    bert_base: float | None


@dataclasses.dataclass(frozen=True)
class Score:
    """A row's score in a source (a key of SOURCES)."""

    source: str
    value: float
    version: str = ""

    @property
    def of_bert_base(self) -> float | None:
        """The score over BERT-base's in the same source."""
        base = SOURCES[self.source].bert_base
        return None if base is None else self.value / base


_ALBERT_TASKS = "SQuAD 1.1 and 2.0 (each the mean of F1 and EM), MNLI, SST-2, RACE, dev"
SOURCES: Mapping[str, Source] = {
    "distilbert": Source(
        "Sanh et al., 2019, DistilBERT, Table 1. BERT-base's MNLI is printed there as 86.7; only 84.7, as in the "
        "authors' repository, gives the printed mean",
        "https://arxiv.org/abs/1910.01108",
        "GLUE dev, nine tasks with WNLI",
        79.5,
    ),
    "albert": Source(
        "Lan et al., 2019, ALBERT, Table 2: their own BERT-base, and version 1, both after 125,000 steps",
        "https://arxiv.org/abs/1909.11942",
        _ALBERT_TASKS,
        82.3,
    ),
    "albert-v2": Source(
        "The README of google-research/albert, which has no BERT-base: version 2, after 10 million steps on "
        "more text, without dropout",
        "https://github.com/google-research/albert",
        _ALBERT_TASKS,
        None,
    ),
    "miniatures": Source(
        "Turc et al., 2019, in the README of google-research/bert, which has no BERT-base",
        "https://github.com/google-research/bert",
        "GLUE test, nine tasks with WNLI",
        None,
    ),
    "minilm": Source(
        "Wang et al., 2020, MiniLM, Table 8. The teacher is not BERT-base, but one of its size that saw more text; a "
        "teacher assistant is between them",
        "https://arxiv.org/abs/2002.10957",
        "SQuAD 2.0 and seven tasks of GLUE, dev",
        81.5,
    ),
}
SCORES: Mapping[str, tuple[Score, ...]] = {
    "bert-base": (Score("distilbert", 79.5), Score("albert", 82.3), Score("minilm", 81.5)),
    "albert-base": (Score("albert-v2", 82.3, "v2"), Score("albert", 80.1, "v1")),
    "distilbert": (Score("distilbert", 77.0),),
    "bert-small": (Score("miniatures", 71.2),),
    "minilm-l6": (Score("minilm", 79.6),),
}


def retention(row: str) -> float | None:
    """Returns the best published share of BERT-base's score; None if no source has both."""
    shares = [one.of_bert_base for one in SCORES.get(row, ())]
    return max((share for share in shares if share is not None), default=None)
