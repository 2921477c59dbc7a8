"""Replaces both workers by a device with memory for few rows, so that the command is tested without JAX.

GPU_STEPS_FAKE: {"memory_rows": more rows end the process, "seconds": of a step per row, "loss": by attention,
"device": the answer to describe, "journal": a file of events, "never_builds": an attention}.
"""

import json
import os
import signal
import sys
import time

from benchmarks.harness.serving import serve

FAKE = json.loads(os.environ["GPU_STEPS_FAKE"])
STEPS = 4
built = {}


def build(case=None, config=None, batch=None, **_):
    if config is None:
        attention = case["setting"]["attention"]
        built.update(rows=case["rows"], name="flax_lite", loss=FAKE.get("loss", {}).get(attention, 10.0))
        if attention == FAKE.get("never_builds"):
            time.sleep(60)
    else:
        assert os.path.exists(batch)
        built.update(rows=1, name="PyTorch", loss=5.0)
    _note("built")
    return {}


def run():
    rows = built["rows"]
    if rows > FAKE.get("memory_rows", 10**9):
        print(f"{rows} rows, {built['name']}", file=sys.stderr, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    _note("runs")
    time.sleep(0.05)
    _note("ran")
    return {
        "build_seconds": 2.0,
        "step_seconds": [FAKE.get("seconds", 0.001) * rows] * STEPS,
        "loss": built["loss"],
        "grad_norm": 1.0,
        "peak_bytes": 2**30 * rows,
        "settings": f"{built['name']} by {sys.executable}",
    }


def _note(event):
    if "journal" in FAKE:
        with open(FAKE["journal"], "a") as journal:
            print(event, file=journal, flush=True)


if __name__ == "__main__":
    serve({"describe": lambda work: FAKE["device"], "build": build, "run": run})
