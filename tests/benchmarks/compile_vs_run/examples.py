"""A measurement for the tests."""

import dataclasses
import json

from benchmarks.compile_vs_run.results import Measurement, Row
from benchmarks.compile_vs_run.stages import Stages
from benchmarks.harness.results import Series

MEASURED = Measurement(
    builds=[Stages(0.1, 0.2, 4.0), Stages(0.1, 0.2, 6.0), Stages(0.3, 0.2, 5.0)],
    program_lines=100,
    code_bytes=None,
    temporary_bytes=2**20,
    argument_bytes=2**19,
    total_bytes=2**21,
    peak_bytes=2**19,
    dtype="float32",
    first_seconds=2.0,
    run_seconds=[1.0, 1.1, 1.2, 1.3, 9.0],
    outcome=[10.0, 2.0],
)


def record(measured):
    """Converts a measurement to the form of a worker's answer and of the file."""
    return json.loads(json.dumps(dataclasses.asdict(measured)))


def series(measured):
    """Returns a series with a row for each case."""
    return Series({}, [Row(case=case, outcome=one) for case, one in measured.items()])
