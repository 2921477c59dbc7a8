"""The jobs and all they share: command line, work directory, loop. Imports flax_lite, never the reverse."""

import sys

if sys.argv[:1] == ["-m"]:  # `python -m train.JOB` begins: its front, with a guard of its own, is yet to be imported
    from train.machine.signals import end_at_a_signal

    end_at_a_signal()
