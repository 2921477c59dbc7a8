"""summary.json: what ran and where the time went, over every run of a work directory."""

from collections.abc import Mapping
from typing import Any

from train.run.metrics import Clock
from train.run.provenance import provenance
from train.run.workdir import WorkDir


class Summary:
    """Keeps this run's entry beside those of the runs before it.

    Args:
      work: the work directory.
      clock: this run's clock.
      first_step: the step it continues from.
      lost_steps: steps an earlier run did behind its last checkpoint, to be done again.
      mesh: mesh sizes.
    """

    def __init__(self, work: WorkDir, clock: Clock, first_step: int, lost_steps: int, mesh: dict[str, int]) -> None:
        self._work, self._clock = work, clock
        self._earlier = list(work.read_summary().get("runs", []))
        self._run = {**provenance(), "mesh": mesh, "from_step": first_step, "lost_steps": lost_steps}

    def write(self, status: str, step: int, measured: Mapping[str, Any], **more: Any) -> None:
        """Writes the file.

        Args:
          status: "running", "interrupted", "failed" or "finished".
          step: the step that was reached.
          measured: of this run, added to its entry.
          **more: of the job, added at the top.
        """
        seconds = {phase: round(spent, 3) for phase, spent in self._clock.read().items()}
        run = {**self._run, "to_step": step, "wall_seconds": round(self._clock.total(), 3), "seconds": seconds}
        run |= measured
        runs = [*self._earlier, run]
        head = {"job": self._work.request.job, "config": self._work.request.spec, "status": status, "step": step}
        self._work.write_summary({**head, **more, "totals": totals(runs), "runs": runs})


def totals(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Sums runs up.

    Returns:
      Seconds in all and by phase, steps that were lost and done again, and goodput: the share of all seconds that went
      into steps. A killed run is known up to its last checkpoint, so the steps it lost count neither way.
    """
    phases = dict.fromkeys(phase for run in runs for phase in run["seconds"])
    seconds = {phase: round(sum(run["seconds"].get(phase, 0.0) for run in runs), 3) for phase in phases}
    wall = sum(run["wall_seconds"] for run in runs)
    return {
        "wall_seconds": round(wall, 3),
        "seconds": seconds,
        "lost_steps": sum(run["lost_steps"] for run in runs),
        "goodput": round(seconds.get("steps", 0.0) / wall, 4) if wall else 0.0,
    }
