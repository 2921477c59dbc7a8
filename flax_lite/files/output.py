"""Standard output whose reader may close it, as in `python -m flax_lite.inspect SOURCE | head`."""

import contextlib
import os
import select
import sys
from collections.abc import Iterable


def print_lines(lines: Iterable[str]) -> None:
    """Prints lines; those that the reader of a pipe no longer takes are dropped."""
    try:
        sys.stdout.writelines(f"{line}\n" for line in lines)
        sys.stdout.flush()
    except BrokenPipeError:
        discard_output()


def is_output_closed() -> bool:
    """Returns whether standard output is a pipe whose reader has closed it."""
    try:
        poll = select.poll()
        poll.register(sys.stdout.fileno(), 0)
        return any(event & select.POLLERR for _, event in poll.poll(0))
    except (AttributeError, OSError, ValueError):  # no poll on Windows, or no file
        return False


def discard_output() -> None:
    """Redirects standard output to nowhere, so that flushing its buffer at exit cannot fail."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
