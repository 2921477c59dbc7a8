"""A prepared task, for tests that provide logits."""

import numpy as np

from train.tasks.examples import TaskData, TextExample
from train.tasks.kinds.classification import Classification
from train.tasks.opening import ExampleSets, Prepared
from train.tasks.rows import Row, RowSet
from train.tasks.scores.scoring import Scorer


def prepared_of(problem, labels, names=("a", "b")):
    """Returns texts with these labels in two held-out sets, "dev" and "more"; "dev" is the training set too."""
    names = names if problem == "single_label" else ()
    sets = {
        each: [TextExample(id=f"{each}-{n}", texts=("x",), label=label) for n, label in enumerate(labels)]
        for each in ("dev", "more")
    }
    data = TaskData(kind="classification", train=sets["dev"], evaluation=sets, labels=names, problem=problem)
    task, scorer = Classification(data, None, 8), Scorer(None, data)
    rows = RowSet([Row(n, (np.zeros(2, np.int32),), (2,), {}) for n in range(2 * len(labels))], 0, (8,), {})
    held_out = ExampleSets(sets=sets, rows=rows)
    return Prepared(
        task=task, train=rows, held_out=held_out, test=held_out, scorer=scorer, baseline=scorer.baseline(sets["dev"])
    )
