"""The table of the nine GLUE tasks and the diagnostic set AX: their files, columns, labels and submissions.

Folders, files and columns are those of the archives linked from https://gluebenchmark.com/tasks. Label indices are
those of TensorFlow Datasets and of Hugging Face's `glue`, and so of the fine-tuned models on its hub.
"""

import dataclasses
from collections.abc import Mapping

from train.tasks.examples import Problem


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class GlueTask:
    """A task of GLUE.

    Attributes:
        folder: the folder of its files.
        texts: the columns of its one or two texts.
        label: the column of the label.
        labels: names of the labels, in the order of their indices; for regression, the name of the number.
        written: each label as written in the files and the submission; empty for regression.
        evaluation: the file of each evaluation set.
        test: the file of each test set.
        submitted: the name of the submitted file for each test set.
        index: the column that numbers the rows of a test set.
        columns: the columns of the labeled files if they have no header.
        tfds_texts: the features of the texts in `tfds:glue`, if not `texts`.
        problem: the kind of label.
        scale: the range of the number for regression.
        bad_rows: whether the labeled files have rows with a wrong number of fields, which every reader skips.
    """

    folder: str
    texts: tuple[str, ...] = ("sentence1", "sentence2")
    label: str = "label"
    labels: tuple[str, ...]
    written: tuple[str, ...]
    evaluation: Mapping[str, str] = dataclasses.field(default_factory=lambda: {"dev": "dev.tsv"})
    test: Mapping[str, str] = dataclasses.field(default_factory=lambda: {"test": "test.tsv"})
    submitted: Mapping[str, str]
    index: str = "index"
    columns: tuple[str, ...] = ()
    tfds_texts: tuple[str, ...] = ()
    problem: Problem = "single_label"
    scale: tuple[float, float] = (0.0, 5.0)
    bad_rows: bool = False


_ENTAILMENT = ("entailment", "not_entailment")
_NLI = ("entailment", "neutral", "contradiction")
_NUMBERED = ("0", "1")

GLUE: dict[str, GlueTask] = {
    "cola": GlueTask(
        folder="CoLA",
        texts=("sentence",),
        labels=("unacceptable", "acceptable"),
        written=_NUMBERED,
        submitted={"test": "CoLA.tsv"},
        columns=("source", "label", "star", "sentence"),
    ),
    "sst2": GlueTask(
        folder="SST-2",
        texts=("sentence",),
        labels=("negative", "positive"),
        written=_NUMBERED,
        submitted={"test": "SST-2.tsv"},
    ),
    "mrpc": GlueTask(
        folder="MRPC",
        texts=("#1 String", "#2 String"),
        label="Quality",
        labels=("not_equivalent", "equivalent"),
        written=_NUMBERED,
        submitted={"test": "MRPC.tsv"},
        tfds_texts=("sentence1", "sentence2"),
    ),
    "stsb": GlueTask(
        folder="STS-B",
        label="score",
        labels=("similarity",),
        written=(),
        submitted={"test": "STS-B.tsv"},
        problem="regression",
    ),
    "qqp": GlueTask(
        folder="QQP",
        texts=("question1", "question2"),
        label="is_duplicate",
        labels=("not_duplicate", "duplicate"),
        written=_NUMBERED,
        submitted={"test": "QQP.tsv"},
        index="id",
        bad_rows=True,
    ),
    "mnli": GlueTask(
        folder="MNLI",
        label="gold_label",
        labels=_NLI,
        written=_NLI,
        evaluation={"matched": "dev_matched.tsv", "mismatched": "dev_mismatched.tsv"},
        test={"matched": "test_matched.tsv", "mismatched": "test_mismatched.tsv"},
        submitted={"matched": "MNLI-m.tsv", "mismatched": "MNLI-mm.tsv"},
        tfds_texts=("premise", "hypothesis"),
    ),
    "qnli": GlueTask(
        folder="QNLI",
        texts=("question", "sentence"),
        labels=_ENTAILMENT,
        written=_ENTAILMENT,
        submitted={"test": "QNLI.tsv"},
    ),
    "rte": GlueTask(folder="RTE", labels=_ENTAILMENT, written=_ENTAILMENT, submitted={"test": "RTE.tsv"}),
    "wnli": GlueTask(
        folder="WNLI", labels=("not_entailment", "entailment"), written=_NUMBERED, submitted={"test": "WNLI.tsv"}
    ),
    # It has no training set and is predicted by a model trained on MNLI.
    "ax": GlueTask(
        folder="diagnostic",
        labels=_NLI,
        written=_NLI,
        evaluation={},
        test={"test": "diagnostic.tsv"},
        submitted={"test": "AX.tsv"},
        tfds_texts=("premise", "hypothesis"),
    ),
}
