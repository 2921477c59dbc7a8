"""A worker for the tests of the protocol: it answers, fails, dies, or sleeps as it is asked."""

import os
import signal
import sys
import time

from benchmarks.harness.serving import serve


class OutOfMemoryError(RuntimeError):
    """Has the name of PyTorch's exception."""


def fail(message):
    raise {"memory": OutOfMemoryError, "status": RuntimeError}.get(message.split()[0], ValueError)(message)


def die():
    print("the last words", file=sys.stderr)
    sys.stderr.flush()
    os.kill(os.getpid(), signal.SIGKILL)


def echo(**arguments):
    print("a library that prints")
    return arguments


def sleep(seconds):
    time.sleep(seconds)
    return {}


if __name__ == "__main__":
    serve({"echo": echo, "fail": fail, "die": die, "sleep": sleep})
