"""XNLI's files."""

import pytest

from train.errors import UserError
from train.tasks.xnli import read_xnli


def test_a_language_is_read(tmp_path):
    header = "language\tgold_label\tsentence1\tsentence2\tpairID"
    rows = ["de\tneutral\tEin Mann.\tEine Frau.\t7", "en\tentailment\tA man.\tA person.\t7"]
    (tmp_path / "xnli.dev.tsv").write_text("\n".join([header, *rows]) + "\n")
    (tmp_path / "multinli.train.de.tsv").write_text("premise\thypo\tlabel\nEin Hund.\tKein Hund.\tcontradictory\n")
    data = read_xnli(f"files:{tmp_path}", "de")
    assert [(each.id, each.texts, each.label) for each in data.evaluation["dev"]] == [
        ("7", ("Ein Mann.", "Eine Frau."), 1)
    ]
    assert [each.label for each in data.train] == [2]
    with pytest.raises(UserError, match="no language 'fr'; it has de, en"):
        read_xnli(f"files:{tmp_path}", "fr")
    with pytest.raises(UserError, match=r"no xnli\.dev\.tsv"):
        read_xnli(f"files:{tmp_path / 'nowhere'}", "de")
