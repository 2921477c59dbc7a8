"""The ways a job ends early, each with its exit status.

0 is success and 1 with a traceback is a defect of this project; the exceptions below end a job with one clean message
and no traceback. `train.options.cli.main` is the only place that turns them into a status.
"""

import errno

# No room, or none that may be written to: somebody makes some, and the same command continues.
STORAGE_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS})


class JobError(Exception):
    """Ends the job with this exception's message and `status`, without a traceback."""

    status = 1


class UserError(JobError):
    """The request cannot be carried out as given: the message says what was given, what was expected, what to do."""

    status = 2


class RunError(JobError):
    """The run itself went wrong: a loss that is not finite, a checkpoint that could not be written.

    Neither a mistake in the request nor a defect of the program, and trying again unchanged will not help: status 1, so
    that a supervisor which restarts on 75 leaves it alone.
    """

    status = 1


class StopError(JobError):
    """A signal asked the job to stop; what was done is saved and the same command continues it."""

    status = 75
