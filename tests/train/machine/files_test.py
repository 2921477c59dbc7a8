"""JSON files are valid JSON."""

import json
import math

import numpy as np
import pytest

from train.machine.files import to_json, write_json


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"loss": math.nan, "accuracy": 0.5}, {"loss": None, "accuracy": 0.5}),
        (
            {"sets": {"dev": [math.inf, -math.inf, 1, "NaN", None, True]}},
            {"sets": {"dev": [None, None, 1, "NaN", None, True]}},
        ),
        ((1.5, (np.float64("nan"),)), [1.5, [None]]),
        (0.0, 0.0),
    ],
)
def test_json_has_null_for_numbers_that_are_not_finite(value, expected, tmp_path):
    write_json(tmp_path / "file.json", value)
    for text in (to_json(value), (tmp_path / "file.json").read_text()):
        assert json.loads(text, parse_constant=pytest.fail) == expected
    assert "\n" not in to_json(value)
