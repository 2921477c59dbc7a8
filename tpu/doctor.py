"""Checks a machine before a job runs on it: prints a line per check, with a cure for each problem.

    python -m tpu.doctor [--expect_platform tpu] [--expect_devices 8] [--workdir DIR|gs://BUCKET/PATH]
                         [--coordinator HOST:PORT] [--skip CHECK] [--json]

JAX starts in a subprocess with a time limit, so that a runtime that hangs is reported as a finding. The doctor changes
nothing and ends no other process. Exit status: 0 no check failed (warnings are allowed), 1 a check failed, 2 wrong
options.
"""

import argparse
import dataclasses
import json
import sys
from collections.abc import Callable, Iterable, Sequence

from tpu.checks import devices, installation, network, storage
from tpu.machine import Finding, Machine, Options, failure

Check = Callable[[Machine], Finding]

# `holders` looks for processes that have the chip open, so it comes before the checks that start JAX.
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
    """Returns the finding of each check; an exception in a check is a finding too, and the other checks still run."""
    return {name: _run(check, machine) for name, check in CHECKS.items() if name not in set(skip)}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line and returns the exit status."""
    given = parser().parse_args(argv)
    options = {field.name: getattr(given, field.name) for field in dataclasses.fields(Options)}
    findings = examine(Machine(options=Options(**options)), given.skip)
    passed = all(finding.status != "failure" for finding in findings.values())
    if given.json:
        checks = [{"name": name, **dataclasses.asdict(finding)} for name, finding in findings.items()]
        print(json.dumps({"ok": passed, "checks": checks}, indent=2))
    else:
        print("\n".join(_line(name, finding) for name, finding in findings.items()))
    return 0 if passed else 1


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
    """Returns the parser of the command line."""
    made = argparse.ArgumentParser(
        prog="python -m tpu.doctor",
        description="Checks a machine before a job runs on it: prints a line per check, with a cure for each problem.",
        epilog="Exit status: 0 no check failed, 1 a check failed, 2 wrong options.",
    )
    default = Options()
    made.add_argument("--expect_devices", type=_count, help="devices that JAX should find, over all processes")
    made.add_argument("--expect_platform", choices=("tpu", "gpu", "cpu"), help="platform that JAX should use")
    made.add_argument("--workdir", help="the job's work directory: a path or gs://BUCKET/PATH")
    made.add_argument("--coordinator", type=_address, metavar="HOST:PORT", help="of process 0, for several processes")
    made.add_argument("--num_processes", type=_count, help="number of processes (default: from the TPU or Slurm)")
    made.add_argument("--process_id", type=int, help="index of this process (likewise)")
    made.add_argument(
        "--timeout_seconds",
        type=float,
        default=default.timeout_seconds,
        help="time limit for starting JAX and computing a sum (default: %(default)g)",
    )
    checks = f"skip one of {', '.join(CHECKS)}"
    made.add_argument("--skip", action="append", default=[], choices=CHECKS, metavar="CHECK", help=checks)
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
