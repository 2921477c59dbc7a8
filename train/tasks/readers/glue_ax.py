"""Reads AX, the diagnostic set of GLUE: pairs of sentences that are predicted by a model trained on MNLI."""

import dataclasses
from pathlib import Path

from train.tasks.examples import TaskData, TextExample
from train.tasks.readers.folders import find_file, source_directory
from train.tasks.readers.glue import read_glue
from train.tasks.readers.glue_table import GLUE
from train.tasks.readers.label_names import label_index
from train.tasks.readers.lines import read_all
from train.tasks.readers.tables import Row, tsv_rows

# The diagnostic set with labels and annotations, from https://gluebenchmark.com/diagnostics.
_LABELED = "diagnostic-full.tsv"


def read_ax(source: str, *, tfds_dir: str | None = None, training: bool = True) -> TaskData:
    """Reads the training and evaluation sets of MNLI, and the diagnostic set as test set.

    Args:
        source: `files:DIR` with the folders MNLI and diagnostic in DIR (diagnostic.tsv, diagnostic-full.tsv with
            labels, or both); or `tfds:glue/ax`, which also reads `tfds:glue/mnli`.
        tfds_dir: directory of the prepared tfds data sets; the default of tfds if None.
        training: whether the training set of MNLI is required.

    Returns:
        The examples of MNLI. `test` has "test", which is submitted, and "full", which has labels, as far as their files
        exist.

    Raises:
        UserError: if MNLI or the diagnostic set is missing, or as `read_glue`.
    """
    if source.startswith("tfds:"):
        name = source.rpartition("/")[0]
        mnli, ax = (read_glue(task, f"{name}/{task}", tfds_dir=tfds_dir) for task in ("mnli", "ax"))
        return dataclasses.replace(mnli, test=ax.test)
    folder = source_directory(source, "'files:DIR' with GLUE's folders MNLI and diagnostic in DIR, or 'tfds:glue/ax'")
    folders = (folder / GLUE["ax"].folder, folder)
    labeled = find_file(folders, [_LABELED])
    is_submitted = find_file(folders, GLUE["ax"].test.values()) or not labeled
    test = {
        **(read_glue("ax", source).test if is_submitted else {}),
        **({"full": _labeled(labeled)} if labeled else {}),
    }
    return dataclasses.replace(read_glue("mnli", source, training=training), test=test)


def _labeled(path: Path) -> list[TextExample]:
    return read_all(enumerate(tsv_rows(path)), lambda numbered: _example(str(numbered[0]), numbered[1]))


def _example(identifier: str, row: Row) -> TextExample:
    label = label_index(row.name("Label"), GLUE["ax"].labels, row.location, "The labels of MNLI")
    return TextExample(id=identifier, texts=(row.text("Premise"), row.text("Hypothesis")), label=label)
