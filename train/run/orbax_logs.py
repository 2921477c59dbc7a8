"""What Orbax writes to the log, left out: its failures reach a job as exceptions."""

import functools
import logging
import sys
from typing import Any

from absl import logging as absl_logging


class _DropOrbaxRecords(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        return "/orbax/" not in record.pathname


@functools.cache
def quieten_orbax() -> None:
    """Leaves Orbax's failures to the exception that it raises.

    It also logs each with the tracebacks of all its threads; and when one array fails it closes the event loop that the
    others still report to, which Python prints once per array.
    """
    absl_logging.get_absl_logger().addFilter(_DropOrbaxRecords())
    report = sys.unraisablehook

    def hook(unraisable: Any) -> None:
        if str(unraisable.exc_value) != "Event loop is closed":
            report(unraisable)

    sys.unraisablehook = hook
