"""The jobs and what they share: command line, work directory, loop. Imports flax_lite, never the reverse."""

import sys

if sys.argv[:1] == ["-m"]:  # `python -m train.JOB`, before the command line with its own signal handling is imported
    from train.machine.signals import end_at_a_signal

    end_at_a_signal()
