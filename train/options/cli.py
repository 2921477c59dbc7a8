"""The command line of every job.

    python -m train.JOB --config FILE[:VARIANT] [--workdir DIR] [--config.KEY=VALUE ...] [--print_config] [--extend]
                        [--dry_run [--target v5e:2x4]] [--coordinator HOST:PORT --num_processes N --process_id I]

Exit status: 0 done or already complete; 2 a mistake in the request (one message, no traceback); 75 interrupted and
saved; 1 a defect (with a traceback) or a run that failed (one message).
"""

import io
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence

from absl import flags

from flax_lite.files.output import discard_output, is_output_closed
from train.errors import STORAGE_ERRORS, JobError, StopError
from train.machine.signals import Guard, leave
from train.options.command_line import Table, parse
from train.options.request import Request


def main(
    job: str,
    options: Table | Mapping[str, Table],
    run: Callable[[Request], None],
    argv: Sequence[str] | None = None,
    help_config: str = "configs/albert_tiny.py",
    plan: Callable[[Request], None] | None = None,
    joins: bool = False,
    sweeps: bool = False,
) -> int:
    """Runs a job from its command line.

    Args:
      job: the job's name, for messages.
      options: its table of options; or the tables of several jobs by name, of which the config selects one.
      run: runs a request.
      argv: the arguments; `sys.argv[1:]` if None.
      help_config: the config whose values --help shows if none is given.
      plan: prints for --dry_run what a request would need; None: the job has no --dry_run.
      joins: whether the processes of several hosts run it together.
      sweeps: whether it takes --sweep.

    Returns:
      The exit status. The process exits here instead if other hosts continue without it, or if a signal stopped it.
    """
    # Grain 0.2.18 reads a flag of absl's global table in its worker pool and fails if that table was not parsed.
    flags.FLAGS.mark_as_parsed()
    _show_all_text()
    request, error, joined = None, None, False
    status: int | None = 0
    try:
        with Guard(ends_process=argv is None) as guard:
            arguments = sys.argv[1:] if argv is None else argv
            request = parse(
                job, options, arguments, guard, help_config, plans=plan is not None, joins=joins, sweeps=sweeps
            )
            if request is not None and request.dry_run and plan is not None:
                plan(request)
            elif request is not None:
                joined = joins and _join(request)
                run(request)
            sys.stdout.flush()
    except Exception as raised:
        error = raised
        status = _expected_end(job, request, error, joined)
        if status is None:
            if not joined:
                raise
            traceback.print_exc()
            status = JobError.status
    if joined:
        from train.machine import hosts

        hosts.leave(status, error)
    if isinstance(error, StopError) and argv is None:
        leave(status)
    return status


def _join(request: Request) -> bool:
    """Connects to the other hosts, if any; returns whether there are any."""
    from train.machine import hosts
    from train.options import runtime

    runtime.settle_runtime(request.values)  # before JAX starts, which joining does
    settings = request.config.hosts.to_dict()
    hosts.join(request.coordinator, request.num_processes, request.process_id, **settings)
    return hosts.is_joined()


def _expected_end(job: str, request: Request | None, error: Exception, joined: bool) -> int | None:
    """Prints why a command ended early and returns its status; returns None for a defect."""
    if joined:
        from train.machine import hosts

        if hosts.lost_another(error):
            message = f"another host was lost ({str(error).partition(chr(10))[0]}). The same command resumes from the"
            return _end(job, f"{message} last checkpoint", StopError.status, joined)
    if isinstance(error, JobError):
        return _end(job, str(error), error.status, joined)
    if isinstance(error, BrokenPipeError) and is_output_closed():  # other pipes are those of worker processes
        discard_output()
        if request is None:
            return JobError.status
        message = "its output was closed by its reader (as `| head` does), which ended the run. Send it to a file"
        return _end(job, f"{message}; the same command resumes a job", JobError.status, joined)
    if isinstance(error, OSError) and error.errno in STORAGE_ERRORS:
        return _end(job, f"{error}. Make room there, then the same command resumes", JobError.status, joined)
    return None


def _end(job: str, message: str, status: int, joined: bool) -> int:
    who = job
    if joined:
        from train.machine import hosts

        who = f"{job}, {hosts.name()}"
    sys.stdout.flush()
    print(f"{who}: {message}", file=sys.stderr, flush=True)
    return status


def _show_all_text() -> None:
    """Prints characters that the output's encoding lacks as escapes: held-out text may be in any script."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # not in a notebook, which takes all characters
            stream.reconfigure(errors="backslashreplace")
