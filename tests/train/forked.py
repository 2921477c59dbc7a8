"""Processes forked from one that has imported the toy job, which saves seconds of imports per process.

Signals, exit statuses, files, memory and JAX's devices are separate as in any other process. Only imports, and signals
during imports, cannot be tested with them.
"""

import atexit
import contextlib
import functools
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
import weakref
from pathlib import Path

import jax

_REPOSITORY = Path(__file__).resolve().parents[2]
# Settings that JAX reads from the environment when it is imported, that is, before the fork.
_READ_EARLY = {
    "jax_compilation_cache_dir": str,
    "jax_compilation_cache_max_size": int,
    "jax_persistent_cache_min_compile_time_secs": float,
}


class Process:
    """A forked process.

    Args:
      arguments: its command-line arguments.
      call: MODULE:FUNCTION to run, without arguments; its return value is the exit status.
      environment: changes to this process's environment variables; None removes one.
    """

    def __init__(self, *arguments, call="tests.train.toy:main", environment=None):
        changed = {**os.environ, "JAX_PLATFORMS": "cpu", **(environment or {})}
        kept = {name: value for name, value in changed.items() if value is not None}
        request = {"call": call, "arguments": [*map(str, arguments)], "environment": kept}
        self.started = time.time()
        reader, report = os.pipe()
        with contextlib.ExitStack() as stack:
            self._output, self._errors = (stack.enter_context(tempfile.TemporaryFile()) for _ in range(2))
            self._report = stack.enter_context(os.fdopen(reader))
            weakref.finalize(self, stack.pop_all().close)
        files = [self._output.fileno(), self._errors.fileno(), report]
        socket.send_fds(_server(), [json.dumps(request).encode() + b"\n"], files)
        os.close(report)
        self.pid, self.returncode = int(self._report.readline()), None
        atexit.register(self.kill)

    @property
    def output(self):
        """Its stdout so far."""
        return _text(self._output)

    @property
    def errors(self):
        """Its stderr so far."""
        return _text(self._errors)

    def poll(self, seconds=0.0):
        if self.returncode is None and select.select([self._report], [], [], seconds)[0]:
            self.returncode = int(self._report.readline())
            atexit.unregister(self.kill)
        return self.returncode

    def wait(self, seconds=300.0):
        """Waits until it has ended, and returns its exit status."""
        if self.poll(seconds) is None:
            self.kill()
            raise AssertionError(f"not done in {seconds} s: {self.output}{self.errors}")
        return self.returncode

    def end(self):
        """Waits until it has ended, and returns its exit status, stdout and stderr."""
        return self.wait(), self.output, self.errors

    def wait_for_error(self, text):
        """Waits until its stderr contains a text."""
        deadline = time.monotonic() + 240
        while self.poll(0.005) is None and text not in self.errors:
            assert time.monotonic() < deadline, self.errors
        assert text in self.errors

    def send_signal(self, number):
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self):
        self.send_signal(signal.SIGKILL)


def _text(file):
    return os.pread(file.fileno(), 2**24, 0).decode(errors="replace")


@functools.cache
def _server():
    """Starts the process that the others are forked from and returns its channel; it ends when the channel closes."""
    here, there = socket.socketpair()
    # One thread, because a fork loses the others; a new session, so that Ctrl-C in a terminal does not reach it.
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "OPENBLAS_NUM_THREADS": "1"}
    environment["GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT"] = "false"  # read during an import too (fake_gcs.py)
    for name in _READ_EARLY:
        environment.pop(name.upper(), None)
    command = [sys.executable, "-m", "tests.train.forked", str(there.fileno())]
    options = {"cwd": _REPOSITORY, "env": environment, "pass_fds": [there.fileno()], "start_new_session": True}
    server = subprocess.Popen(command, **options)
    there.close()
    atexit.register(server.wait)
    atexit.register(here.close)
    return here


def _serve(channel):
    """Forks a process for each request, and returns the request in that process."""
    reporting = 0
    while True:
        message, files, *_ = socket.recv_fds(channel, 2**16, 3)
        while message and not message.endswith(b"\n"):
            message += channel.recv(2**16)
        while reporting and os.waitpid(-1, os.WNOHANG if message else 0)[0]:
            reporting -= 1
        if not message:
            os._exit(0)
        if os.fork():
            reporting += 1
            for file in files:
                os.close(file)
            continue
        channel.close()
        output, errors, report = files
        if process := os.fork():
            os.write(report, f"{process}\n".encode())
            status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
            os.write(report, f"{status}\n".encode())
            os._exit(0)
        os.dup2(output, 1)
        os.dup2(errors, 2)
        for file in files:
            os.close(file)
        return json.loads(message)


def _main():
    import tests.train.toy  # noqa: F401 (before the forks)

    with contextlib.suppress(ImportError):
        import gcsfs  # noqa: F401 (takes a second)
    request = _serve(socket.socket(fileno=int(sys.argv[1])))
    sys.argv[1:] = request["arguments"]
    os.environ.clear()
    os.environ.update(request["environment"])
    for name, kind in _READ_EARLY.items():
        if (value := os.environ.get(name.upper())) is not None:
            jax.config.update(name, kind(value))
    module, _, function = request["call"].partition(":")
    return getattr(importlib.import_module(module), function)()


if __name__ == "__main__":
    sys.exit(_main())
