"""Capture specifications: rows of the buffers, and refused names and layers."""

import pytest

from flax_lite.layers.capture import CaptureSpec


@pytest.mark.parametrize(
    ("layers", "inner", "expected"),
    [
        ((), 1, [0, 0, 0]),
        ((2, 0), 1, [1, 2, 0]),
        ((-1,), 1, [1, 1, 0]),
        ((0, -1), 2, [2, 0, 2, 2, 2, 1]),
    ],
)
def test_rows_number_the_last_application_of_each_chosen_layer(layers, inner, expected):
    """Other applications have a row past the end, which a scatter in mode "drop" ignores."""
    assert CaptureSpec(layers=layers).rows(3, inner) == expected


@pytest.mark.parametrize(
    ("spec", "needed"),
    [
        (CaptureSpec(), False),
        (CaptureSpec(hidden_states=True, names=("keys",), layers=(0,)), False),
        (CaptureSpec(attentions=True), True),
        (CaptureSpec(names=("scores",), layers=(0,)), True),
    ],
)
def test_scores_are_needed_for_scores_and_attentions(spec, needed):
    assert spec.need_scores == needed


@pytest.mark.parametrize(
    ("names", "layers", "message"),
    [
        (("score",), (0,), r"capture=\['score'\].*scores, queries, keys, values, outputs"),
        (("scores",), (3,), r"capture_layers=\[3\].*3 layers"),
        (("scores",), (2, -1), r"capture_layers=\[2, -1\].*twice"),
        (("scores",), (), "must be given together"),
        ((), (0,), "must be given together"),
    ],
)
def test_check_refuses_unknown_and_incomplete_captures(names, layers, message):
    with pytest.raises(ValueError, match=message):
        CaptureSpec(names=names, layers=layers).check(3)
