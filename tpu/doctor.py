"""Examines a machine before a job runs on it: a line for each check, and the cure of what is wrong.

    python -m tpu.doctor [--expect_platform tpu] [--expect_devices 8] [--workdir DIR|gs://BUCKET/PATH]
                         [--coordinator HOST:PORT] [--skip CHECK] [--json]

JAX starts in a process of its own with a time limit, so that a runtime that hangs is a finding. Nothing is changed and
no process is ended. Exit status: 0 nothing failed (warnings are allowed), 1 something did, 2 the options are wrong.
"""

import argparse
import dataclasses
import json
import sys
from collections.abc import Callable, Iterable, Sequence

from tpu.checks import devices, installation, network, storage
from tpu.machine import Finding, Machine, Options, failure

Check = Callable[[Machine], Finding]

# In this order: who holds the chip has to be known before JAX wants it.
CHECKS: dict[str, Check] = {
    "python": installation.python,
    "packages": installation.packages,
    "libtpu": installation.libtpu,
    "holders": devices.holders,
    "coordinator": network.coordinator,
    "workers": network.workers,
    "devices": devices.devices,
    "backend": devices.backend,
    "collective": devices.collective,
    "memory": devices.memory,
    "workdir": storage.workdir,
    "shared_memory": storage.shared_memory,
    "cache": storage.cache,
}


def examine(machine: Machine, skip: Iterable[str] = ()) -> dict[str, Finding]:
    """Returns what each check found; a check that fails itself is a failure, and the others still run."""
    return {name: _run(check, machine) for name, check in CHECKS.items() if name not in set(skip)}


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    given = parser().parse_args(argv)
    options = {field.name: getattr(given, field.name) for field in dataclasses.fields(Options)}
    findings = examine(Machine(options=Options(**options)), given.skip)
    fine = all(finding.status != "failure" for finding in findings.values())
    if given.json:
        checks = [{"name": name, **dataclasses.asdict(finding)} for name, finding in findings.items()]
        print(json.dumps({"ok": fine, "checks": checks}, indent=2))
    else:
        print("\n".join(_line(name, finding) for name, finding in findings.items()))
    return 0 if fine else 1


def _run(check: Check, machine: Machine) -> Finding:
    try:
        return check(machine)
    except Exception as error:
        return failure(
            f"the check itself failed: {type(error).__name__}: {error}", "install the packages: tpu/worker.sh setup"
        )


def _line(name: str, finding: Finding) -> str:
    line = f"{finding.status:<14}  {name:<13}  {finding.message}"
    return f"{line}. Cure: {finding.cure}" if finding.cure else line


def parser() -> argparse.ArgumentParser:
    """Returns what reads the command line."""
    made = argparse.ArgumentParser(
        prog="python -m tpu.doctor",
        description="Examines a machine before a job runs on it: a line for each check, and the cure of what is wrong.",
        epilog="Exit status: 0 nothing failed, 1 something did, 2 wrong options.",
    )
    default = Options()
    made.add_argument("--expect_devices", type=_count, help="devices that JAX should have, of all processes")
    made.add_argument("--expect_platform", choices=("tpu", "gpu", "cpu"), help="what JAX should compute on")
    made.add_argument("--workdir", help="the job's work directory: a path or gs://BUCKET/PATH")
    made.add_argument("--coordinator", type=_address, metavar="HOST:PORT", help="of process 0 of several")
    made.add_argument("--num_processes", type=_count, help="how many, where neither TPU metadata nor Slurm say so")
    made.add_argument("--process_id", type=int, help="this one's number, likewise")
    made.add_argument(
        "--timeout_seconds", type=float, default=default.timeout_seconds, help="what JAX may take (%(default)g)"
    )
    made.add_argument("--skip", action="append", default=[], choices=CHECKS, metavar="CHECK", help=", ".join(CHECKS))
    made.add_argument("--json", action="store_true", help="print one JSON object")
    return made


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a whole number above 0")
    return int(text)


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise argparse.ArgumentTypeError(f"{text!r}: expected HOST:PORT, with a port from 1 to 65535")
    return host.strip("[]"), int(port)


if __name__ == "__main__":
    sys.exit(main())
