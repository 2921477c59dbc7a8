"""A worker whose options set its answers, and which writes a mark for each step that it runs."""

import os
import signal
from pathlib import Path

import numpy as np

from benchmarks.peers.workers.program import Arrays, Case, Description, Program, serve_programs


class _Fake(Program):
    def __init__(self, case: Case) -> None:
        self.options, self.runs = case["options"], Path(case["marks"]) / case["options"]["name"]
        self.description = Description(timed="nothing", settings="none", lacks=["everything"])
        if self.options.get("dies"):
            os.kill(os.getpid(), signal.SIGKILL)
        if self.options.get("raises"):
            raise ValueError("it has no such model\nand more")
        print("a library that prints")

    def check(self) -> Arrays:
        hidden = np.zeros((2, 3, 4), np.float32)
        hidden[0, 0] = self.options.get("off_at_token", 0)
        hidden[1, 2] = self.options.get("off_at_padding", 0)
        return {"hidden": hidden}

    def step(self) -> Arrays:
        with self.runs.open("a") as file:
            file.write("x")
        return {"loss": np.array(self.options.get("loss", 1.0))}

    def measure(self) -> dict[str, float]:
        return {"temporary_mib": self.options.get("temporary_mib", 1.0), "step_seconds": 1.0}


if __name__ == "__main__":
    serve_programs(_Fake)
