"""In the place of both workers: a device of few rows' memory, on which the command is tried without JAX.

GPU_STEPS_FAKE: {"memory_rows": more rows end the process, "seconds": of a step of a row, "loss": by attention,
"device": what describe answers, "journal": a file of what happens, "never_builds": an attention}.
"""

import json
import os
import signal
import sys
import time

from benchmarks.gpu_steps import turns
from train.machine import child_process

FAKE = json.loads(os.environ["GPU_STEPS_FAKE"])
STEPS = 4


def _measured(rows, setting, loss):
    if rows <= FAKE.get("memory_rows", 10**9):
        _note("runs")
        time.sleep(0.05)
        _note("ran")
    print(f"{rows} rows, {setting}", file=sys.stderr)
    if rows > FAKE.get("memory_rows", 10**9):
        os.kill(os.getpid(), signal.SIGKILL)
    return {
        "build_seconds": 2.0,
        "step_seconds": [FAKE.get("seconds", 0.001) * rows] * STEPS,
        "loss": loss,
        "grad_norm": 1.0,
        "peak_bytes": 2**30 * rows,
        "settings": f"{setting} by {sys.executable}",
    }


def _answer(question):
    if question.get("turn"):
        setting = question.get("case", {}).get("setting") or {}
        if setting.get("attention", "none") == FAKE.get("never_builds"):
            time.sleep(60)
        _note("built")
        turns.wait(question["turn"])
    return _outcome(question)


def _note(event):
    if "journal" in FAKE:
        with open(FAKE["journal"], "a") as journal:
            print(event, file=journal, flush=True)


def _outcome(question):
    if "config" in question:
        assert os.path.exists(question["batch"])
        return _measured(1, "PyTorch", 5.0)
    if question["action"] == "describe":
        return FAKE["device"]
    case = question["case"]
    attention = case["setting"]["attention"]
    return _measured(case["rows"], "flax_lite", FAKE.get("loss", {}).get(attention, 10.0))


if __name__ == "__main__":
    child_process.write_answer(_answer(child_process.read_request()))
