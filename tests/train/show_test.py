"""Printing a job's rows from the command line."""

import re

import numpy as np
import pytest

from tests.flax_lite.tokenization import tiny_files
from tests.train.commands import Command
from train import show

SMOKE = Command("show", "configs/albert_base.py:smoke")


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(show, "_TIMED_SECONDS", 0.2)


@pytest.fixture(scope="session")
def shown(finish):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(show, "_TIMED_SECONDS", 0.2)
        _, workdir, printed = finish("shown", SMOKE)
    return printed, workdir


def test_show_prints_rows_with_their_masks(shown):
    printed, _ = shown
    assert re.findall(r"^row (\d): (?:in order|swapped)$", printed, re.MULTILINE) == ["0", "1", "2", "3", "4"]
    segments = re.findall(r"^  [AB]  (.+)$", printed, re.MULTILINE)
    assert len(segments) == 10
    assert any(re.search(r"\[\w+\]", line) for line in segments)
    assert not any("[CLS]" in line or "[SEP]" in line or "<pad>" in line for line in segments)


def test_show_prints_statistics(shown):
    printed, _ = shown
    hidden, replaced, kept = map(
        float, re.search(r"hidden ([\d.]+)%, replaced ([\d.]+)%, kept ([\d.]+)%", printed).groups()
    )
    assert hidden + replaced + kept == pytest.approx(100, abs=0.2)
    assert hidden > 60
    bars = re.findall(r"^ +\d+ to \d+ +([\d.]+)%( █+)?", printed, re.MULTILINE)
    assert sum(float(share) for share, _ in bars) == pytest.approx(100, abs=0.5)
    assert any(bar for _, bar in bars)
    assert re.search(r"^speed: [\d,]+ tokens a second", printed, re.MULTILINE)


def test_show_leaves_no_work_directory(shown):
    assert not shown[1].exists()


def test_show_draws_the_masks_of_the_step(teacher, tmp_path, capsys):
    """Masks over the batch are 15% of all tokens, special tokens included, in packed texts of a distillation."""
    masks = ("data.masking=batch", "data.mask_smoothing=0.7", "data.max_predictions=40")
    overrides = (f"teacher={teacher}", "tokenizer=none", *masks)
    assert Command("show", "configs/distilbert_tiny.py:smoke", overrides).main(tmp_path / "work") == 0
    printed = capsys.readouterr().out
    assert re.search(r"^row 0: \d+ texts?$", printed, re.MULTILINE)
    assert re.search(r"\[\S+\]", printed)
    fraction = float(re.search(r"^masked: ([\d.]+)% of the maskable tokens", printed, re.MULTILINE)[1])
    assert 15 < fraction < 18
    assert printed.rstrip().endswith("the step draws their masks")


def test_show_explains_a_mistake(tmp_path, capsys):
    assert SMOKE.main(tmp_path / "work", "data.source=text:nowhere/*.txt") == 2
    error = capsys.readouterr().err
    assert error.startswith("show: ")
    assert "Traceback" not in error


def test_rows_as_text_marks_masked_words(tmp_path):
    tiny_files.write_vocab(tmp_path)
    from flax_lite.tokenization import load_tokenizer

    tokenizer = load_tokenizer(tmp_path / "vocab.txt")
    words = [piece for piece in tokenizer.pieces if piece.isalpha() and piece.isascii()][:4]
    one, two, three, four = (tokenizer.pieces.index(word) for word in words)
    cls, sep = tokenizer.cls_id, tokenizer.sep_id
    batch = {
        "input_ids": np.array([[cls, tokenizer.mask_id, two, sep, four, three, sep]], np.int32),
        "attention_mask": np.ones((1, 7), np.int32),
        "token_type_ids": np.array([[0, 0, 0, 0, 1, 1, 1]], np.int32),
        "masked_positions": np.array([[1, 2, 4]], np.int32),
        "masked_ids": np.array([[one, two, three]], np.int32),
        "masked_weights": np.ones((1, 3), np.float32),
        "sentence_label": np.array([1], np.int32),
    }
    first, second, third, fourth = words
    assert list(show.rows_as_text(batch, tokenizer, "nsp")) == [
        "row 0: random",
        f"  A  [{first}] [{second}=]",
        f"  B  [{third}>{fourth}] {third}",
    ]
