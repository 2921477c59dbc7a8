"""Runs the scripts of tpu/ with a fake gcloud, first on PATH."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time

from tests.conftest import REPOSITORY

HERE = REPOSITORY / "tests" / "tpu"
# Variables of the user's environment that the scripts would read.
SETTINGS = {"TPU_NAME", "ZONE", "PROJECT_ID", "FLAX_LITE_DRY_RUN"}
CREATE = ("--name=albert", "--zone=us-west4-a", "--accelerator_type=v5litepod-8")
AUTHOR = ("-c", "user.name=someone", "-c", "user.email=someone@example.org")
# A job that runs, on each start, the next line of its worker's plan.
JOB = """
checkpoint() { mkdir -p "$workdir" && echo "{\\"step\\": $1}" >"$workdir/summary.json"; }
preempt() { echo SUSPENDED >"$FAKE_GCLOUD/new" && mv "$FAKE_GCLOUD/new" "$FAKE_GCLOUD/state"; sleep 60; }
workdir=$2
case $workdir in gs://*) workdir=$FAKE_GCLOUD/${workdir#gs://} ;; esac
plan=$FAKE_GCLOUD/plan-$(basename "$HOME")
line=$(head -1 "$plan")
sed -i 1d "$plan"
env >"$FAKE_GCLOUD/environment"
echo "a line of the log"
eval "${line:-exit 99}"
"""


def repository(folder):
    """Makes a small repository; returns the environment variables that make git use it."""
    settings = {"GIT_DIR": str(folder / ".git"), "GIT_WORK_TREE": str(folder)}
    for words in (("init", "-q", "-b", "main", folder), (*AUTHOR, "commit", "-q", "--allow-empty", "-m", "a commit")):
        subprocess.run(["git", *words], env={**os.environ, **settings}, check=True)
    return settings


def end_group(number):
    with contextlib.suppress(ProcessLookupError):
        os.killpg(number, signal.SIGKILL)


# A shell starts background jobs with SIGINT ignored, and bash cannot undo that. This program restores the default, so
# that the tests can also run in the background.
_INTERRUPTIBLE = (
    sys.executable,
    "-c",
    "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); os.execvp(sys.argv[1], sys.argv[1:])",
)


class Cloud:
    """A fake project with one queued resource, and a job with planned starts."""

    def __init__(self, folder, workers=1):
        self.folder = folder / "cloud"
        self.folder.mkdir()
        self.workdir = str(folder / "work")
        self.write("workers", str(workers))
        self.write("job.sh", JOB)
        bin_ = folder / "bin"
        bin_.mkdir()
        (bin_ / "gcloud").write_text(f'#!/bin/sh\nexec {sys.executable} -S {HERE / "fake_gcloud.py"} "$@"\n')
        (bin_ / "gcloud").chmod(0o755)
        inherited = {name: value for name, value in os.environ.items() if name not in SETTINGS}
        changed = {"FAKE_GCLOUD": str(self.folder), "TMPDIR": str(folder), "PATH": f"{bin_}:{os.environ['PATH']}"}
        self.environment = {**inherited, **changed, **repository(folder / "repository")}

    @property
    def commit(self):
        """The last commit of the repository that the scripts copy."""
        return self.git("rev-parse", "HEAD").strip()

    def git(self, *words):
        """Runs git in that repository and returns its output."""
        done = subprocess.run(
            ["git", *AUTHOR, *words], env=self.environment, capture_output=True, text=True, check=True
        )
        return done.stdout

    def write(self, name, content):
        (self.folder / name).write_text(content if isinstance(content, str) else json.dumps(content))

    def plan(self, *lines, worker=0):
        self.write(f"plan-worker-{worker}", "".join(f"{line}\n" for line in lines))

    def planned(self, worker=0):
        return (self.folder / f"plan-worker-{worker}").read_text().splitlines()

    def run(self, script, *arguments, **more):
        return subprocess.run(
            ["bash", str(REPOSITORY / "tpu" / script), *arguments],
            env={**self.environment, **more},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            stdin=subprocess.DEVNULL,
        )

    def supervise(self, *arguments, workdir=None):
        return self.run("watch_and_resume.sh", *self._supervision(arguments, workdir))

    @contextlib.contextmanager
    def supervisor(self, *arguments):
        """Starts a supervisor in a new process group, as a terminal does, and kills it at the end of the block."""
        with subprocess.Popen(
            [*_INTERRUPTIBLE, "bash", str(REPOSITORY / "tpu" / "watch_and_resume.sh"), *self._supervision(arguments)],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as process:
            try:
                yield process
            finally:
                end_group(process.pid)

    def group(self, leader):
        """Returns the processes of a group, its leader first."""
        found = []
        for name in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(ProcessLookupError):
                if os.getpgid(int(name)) == leader:
                    found.append(int(name))
        return sorted(found, key=lambda process: process != leader)

    def end_jobs(self):
        for group in self.folder.glob("worker-*/.flax_lite_job/group"):
            end_group(int(group.read_text()))

    def _supervision(self, arguments, workdir=None):
        quick = ("--poll_seconds=0", "--pause_seconds=0", "--max_restarts=2")
        job = ("--", "bash", str(self.folder / "job.sh"), "--workdir", workdir or self.workdir)
        return (*CREATE, *quick, *arguments, *job)

    def calls(self):
        """Returns the calls of gcloud that change something: create, delete, setup, start, stop."""
        path = self.folder / "calls"
        lines = path.read_text().splitlines() if path.exists() else []
        names = {
            "queued-resources create": "create",
            "queued-resources delete": "delete",
            "worker.sh setup": "setup",
            "worker.sh start": "start",
            "worker.sh stop": "stop",
        }
        return [verb for line in lines for part, verb in names.items() if part in line]

    def wait_for(self, condition):
        deadline = time.monotonic() + 30
        while not condition():
            assert time.monotonic() < deadline
            time.sleep(0.05)
