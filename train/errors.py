"""The exceptions that end a job with one message and no traceback, each with its exit status.

Status 0 is success, and 1 with a traceback is a defect of this project. `train.options.cli.main` turns the exceptions
into statuses.
"""

import errno

# No space, or no permission to write: once that is cured, the same command resumes.
STORAGE_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS})


class JobError(Exception):
    """Ends the job with its message and `status`, without a traceback."""

    status = 1


class UserError(JobError):
    """A mistake in the request. The message says what was given, what was expected and what to do."""

    status = 2


class RunError(JobError):
    """The run failed: a loss is not finite, or a checkpoint could not be written.

    Running it again unchanged will not help, so its status is 1: supervisors restart on 75.
    """

    status = 1


class StopError(JobError):
    """A signal stopped the job; its state is saved, and the same command resumes it."""

    status = 75
