"""Runs the scripts of tpu/ with a fake gcloud in front of any real one."""

import json
import os
import subprocess
import sys
import time

from tests.conftest import REPOSITORY

HERE = REPOSITORY / "tests" / "tpu"
SETTINGS = {"TPU_NAME", "ZONE", "PROJECT_ID", "FLAX_LITE_DRY_RUN"}
CREATE = ("--name=albert", "--zone=us-west4-a", "--accelerator_type=v5litepod-8")
# A job that does, on each start, what the next line of its worker's plan says.
JOB = """
checkpoint() { mkdir -p "$workdir" && echo "{\\"step\\": $1}" >"$workdir/summary.json"; }
preempt() { echo SUSPENDED >"$FAKE_GCLOUD/state"; exit 1; }
workdir=$2
case $workdir in gs://*) workdir=$FAKE_GCLOUD/${workdir#gs://} ;; esac
plan=$FAKE_GCLOUD/plan-$(basename "$HOME")
line=$(head -1 "$plan")
sed -i 1d "$plan"
env >"$FAKE_GCLOUD/environment"
echo "a line of the log"
eval "${line:-exit 99}"
"""


class Cloud:
    """A project with room for one queued resource, and a job whose starts are planned."""

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
        mine = {"FAKE_GCLOUD": str(self.folder), "TMPDIR": str(folder), "PATH": f"{bin_}:{os.environ['PATH']}"}
        self.environment = {**inherited, **mine}

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
        quick = ("--poll_seconds=0", "--pause_seconds=0", "--max_restarts=2")
        job = ("--", "bash", str(self.folder / "job.sh"), "--workdir", workdir or self.workdir)
        return self.run("watch_and_resume.sh", *CREATE, *quick, *arguments, *job)

    def calls(self):
        """What gcloud was asked: create, delete, setup, start, stop, log; looks at states are left out."""
        path = self.folder / "calls"
        lines = path.read_text().splitlines() if path.exists() else []
        names = {
            "queued-resources create": "create",
            "queued-resources delete": "delete",
            "worker.sh setup": "setup",
            "worker.sh start": "start",
            "worker.sh stop": "stop",
            "worker.sh log": "log",
        }
        return [verb for line in lines for part, verb in names.items() if part in line]

    def wait_for(self, condition):
        deadline = time.monotonic() + 30
        while not condition():
            assert time.monotonic() < deadline
            time.sleep(0.05)
