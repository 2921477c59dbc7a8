"""A signal while a job starts ends its process with the exit status of a stopped job."""

import os
import signal
import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY
from train.errors import StopError
from train.machine.signals import Guard

# A package whose import is interrupted by a signal.
HALF = """
import os, signal, time
os.kill(os.getpid(), signal.{number})
time.sleep(5)
raise SystemExit("went on")
"""


@pytest.mark.parametrize(
    ("package", "job", "number"),
    [
        ("absl", "pretrain", "SIGTERM"),  # before the command line is parsed
        ("ml_collections", "finetune", "SIGINT"),
        ("jax", "pretrain", "SIGTERM"),  # while the job is built
        ("optax", "distill", "SIGINT"),
    ],
)
def test_a_signal_during_an_import_ends_in_75(tmp_path, package, job, number):
    (tmp_path / "stubs" / package).mkdir(parents=True)
    (tmp_path / "stubs" / package / "__init__.py").write_text(HALF.format(number=number))
    config = {"pretrain": "albert_tiny", "finetune": "classify", "distill": "distilbert_tiny"}[job]
    words = ["--config", f"configs/{config}.py:smoke", "--workdir", str(tmp_path / "work")]
    done = subprocess.run(
        [sys.executable, "-m", f"train.{job}", *words],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": f"{tmp_path / 'stubs'}{os.pathsep}{REPOSITORY}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 75, done.stderr
    assert f"stopped by {number}" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_signal_outside_imports_is_an_exception():
    """Only during an import does a signal end the process at once."""
    with Guard(ends_process=True), pytest.raises(StopError, match="SIGTERM"):
        os.kill(os.getpid(), signal.SIGTERM)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def test_importing_the_jobs_installs_no_handlers():
    code = "import signal, train; print(signal.getsignal(signal.SIGTERM) is signal.SIG_DFL)"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.stdout == "True\n"
