"""The table of shapes."""

from benchmarks import sizes


def test_sizes_prints_a_row_for_each_shape(capsys):
    assert sizes.main(["--smoke", "--length", "8", "--repeats", "1"]) == 0
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    assert len(rows) == 1 + 4
    assert all(row.count("|") == 7 for row in rows)


def test_shapes_are_the_published_ones():
    """bert-base-uncased has 109,482,240 parameters, and the student half of ALBERT's depth with the same layer."""
    shapes = sizes.shapes()
    assert shapes["BERT-base"].num_hidden_layers == 2 * shapes["DistilBERT"].num_hidden_layers
    student = shapes["distilALBERT (configs/distilalbert.py)"]
    assert (student.num_hidden_layers, student.num_physical_layers, student.embedding_size) == (6, 1, 128)
