"""A measurement to work with."""

import dataclasses
import json

from benchmarks.compile_vs_run.results import Measurement
from benchmarks.compile_vs_run.stages import Stages

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
    """As a worker prints it and the file has it."""
    return json.loads(json.dumps(dataclasses.asdict(measured)))
