"""A work directory for several hosts: host 0 keeps it, all write its checkpoints."""

import contextlib
import dataclasses
import tempfile
from collections.abc import Iterator
from pathlib import Path

from train.errors import UserError
from train.machine import hosts
from train.machine.lock import lock_holder
from train.machine.paths import copy_tree
from train.options.request import Request
from train.run.workdir import WorkDir, open_workdir

_TOKENIZER = "tokenizer"


@contextlib.contextmanager
def open_everywhere(request: Request) -> Iterator[WorkDir]:
    """Opens the request's work directory on every host.

    On host 0 as `train.run.workdir.open_workdir` does. The others get a directory that is thrown away, with the
    tokenizer that an earlier run kept; the checkpoints are the common ones, which all write.

    Raises:
      UserError: as `open_workdir`; or another host does not see the directory that host 0 has opened.
    """
    if hosts.count() == 1:
        with open_workdir(request) as work:
            yield work
        return
    with contextlib.ExitStack() as stack:
        work = None
        with hosts.together("opening the work directory"):
            if hosts.is_first():
                work = stack.enter_context(open_workdir(request))
        told = {"holder": lock_holder(request.workdir), "extended_from": work.extended_from} if work else None
        told = hosts.from_first("the work directory", told and told | {"finished": work and work.finished})
        with hosts.together("seeing the work directory"):
            if work is None:
                work = stack.enter_context(_copied(request, told["holder"]))
                work = dataclasses.replace(work, extended_from=told["extended_from"], finished=told["finished"])
        yield work


@contextlib.contextmanager
def _copied(request: Request, holder: str) -> Iterator[WorkDir]:
    if lock_holder(request.workdir) != holder:
        raise UserError(
            f"--workdir {request.workdir} is not the one that host 0 has opened. Hosts need a common one: a disk that "
            "all of them mount, or gs://"
        )
    with tempfile.TemporaryDirectory(prefix="flax_lite-") as folder:
        copy_tree(request.workdir / _TOKENIZER, Path(folder) / _TOKENIZER)
        yield WorkDir(Path(folder), request, shared=request.workdir)
