"""Checks of the accelerators: processes that hold them, JAX's backend, number of devices, a collective, memory."""

import os
import re
from pathlib import Path

from tpu.machine import Finding, Machine, failure, not_applicable, ok, warning

_CHIP = re.compile(r"/dev/(accel\d+|vfio/\d+)")
# A job's imports take 457 MB (measured, jax 0.10.2); it is unlikely to start with less than four times that.
_LITTLE_MEMORY_BYTES = 2 * 2**30

# Parts of JAX's error messages and their cures. The first match is shown.
_CURES = (
    ("already in use", "another process holds the TPU: see the check `holders`"),
    ("GetChip(0)->location()", "JAX 0.9.2 does not start on v6e (jax issue 37230): install constraints/"),
    ("Unknown backend", "JAX_PLATFORMS names a platform whose plugin is not installed: install the extra tpu or cuda"),
    ("DEADLINE_EXCEEDED", "start this on all workers at once; see the checks `coordinator` and `workers`"),
    (
        "Unable to initialize backend",
        "see the checks `libtpu` and `holders`; a TPU VM needs the image of its accelerator: tpu/create.sh chooses it",
    ),
)
_HUNG = (
    "on a TPU VM with several workers, run this on all of them at once (tpu/setup.sh does), or the first waits for the "
    "others; otherwise see the check `holders`, or create the VM again"
)


def holders(machine: Machine) -> Finding:
    """Checks that no other process has a TPU chip open."""
    if "tpu" not in machine.accelerators():
        return not_applicable("no TPU in /dev")
    held: dict[Path, str] = {}
    hidden = 0
    for process in machine.root.glob("proc/[0-9]*"):
        if int(process.name) == os.getpid():
            continue
        try:
            if chips := _open_chips(process):
                held[process] = ", ".join(sorted(chips))
        except PermissionError:
            hidden += 1
    if held:
        named = ", ".join(f"process {path.name} ({_command(path)}) has {chip} open" for path, chip in held.items())
        pids = " ".join(path.name for path in held)
        return failure(
            named, f"wait for it, or if it is left over: kill {pids}. Do not remove /tmp/libtpu_lockfile before that"
        )
    lock = machine.root / "tmp" / "libtpu_lockfile"
    if lock.exists() and not os.access(lock, os.W_OK):
        return warning("/tmp/libtpu_lockfile belongs to another user", "sudo rm /tmp/libtpu_lockfile")
    if hidden:
        return warning(
            f"no readable process has a chip open; {hidden} could not be read", "run this once as root (sudo)"
        )
    return ok("no process has a TPU chip open")


def backend(machine: Machine) -> Finding:
    """Checks that JAX uses the accelerator, if there is one."""
    present, found = machine.accelerators(), machine.probe.stages.get("devices")
    if not present:
        return not_applicable("no accelerator in /dev")
    if found is None:
        return not_applicable("JAX did not start: see the check `devices`")
    if found["platform"] != "cpu":
        return ok(f"JAX uses {found['platform']}")
    kind, path = next(iter(present.items()))
    if platforms := machine.environ.get("JAX_PLATFORMS"):
        return failure(f"{path} exists, but JAX_PLATFORMS={platforms} keeps JAX on the CPU", "unset JAX_PLATFORMS")
    extra = {"tpu": "tpu", "gpu": "cuda"}[kind]
    return failure(
        f"{path} exists, but JAX fell back to the CPU",
        f"pip install --editable '.[{extra}]'; with JAX_PLATFORMS={extra},cpu this is an error (tpu/launch.sh sets it)",
    )


def devices(machine: Machine) -> Finding:
    """Checks that JAX starts and finds the expected devices."""
    probe, options = machine.probe, machine.options
    found = probe.stages.get("devices")
    if found is None and probe.failed_at == "initialize":
        return not_applicable("the processes did not find each other: see the check `workers`")
    if found is None:
        return failure(
            f"JAX did not start ({probe.failed_at}): {probe.error}", _HUNG if probe.timed_out else _cure(probe.error)
        )
    seen = f"{found['count']} x {found['kind']} ({found['platform']})"
    if options.expect_platform not in (None, found["platform"]):
        return failure(
            f"{seen}, but {options.expect_platform} is expected", "see the checks `backend`, `libtpu` and `packages`"
        )
    if options.expect_devices not in (None, found["count"]):
        return failure(
            f"{seen}, but {options.expect_devices} are expected",
            "run this on all workers at once; if you did, see the check `holders`, or check the type of the VM",
        )
    return ok(seen if found["count"] == found["local_count"] else f"{seen}, {found['local_count']} of them here")


def collective(machine: Machine) -> Finding:
    """Checks that an all-reduce over this worker's devices is correct, and reports its bandwidth."""
    probe = machine.probe
    result = probe.stages.get("collective")
    if result is None and probe.failed_at != "collective":
        return not_applicable("JAX did not start: see the check `devices`")
    if result is None:
        return failure(
            f"a sum over this worker's devices failed: {probe.error}", _HUNG if probe.timed_out else _cure(probe.error)
        )
    if not result["correct"]:
        return failure(
            f"a sum over {result['devices']} devices is wrong",
            "the hardware is broken: delete the VM and create another",
        )
    if result["devices"] == 1:
        return ok("one device, no all-reduce to measure")
    return ok(f"all-reduce over {result['devices']} devices: {result['bytes_per_second'] / 1e9:.2f} GB/s each")


def memory(machine: Machine) -> Finding:
    """Checks the free memory of the host, and reports the memory of a device."""
    match = re.search(r"^MemAvailable:\s+(\d+) kB$", _read(machine.root / "proc" / "meminfo"), re.MULTILINE)
    if not match:
        return not_applicable("/proc/meminfo has no MemAvailable")
    available = int(match[1]) * 1024
    device = (machine.probe.stages.get("devices") or {}).get("memory_bytes")
    text = f"{available / 2**30:.1f} GiB free" + (f", {device / 2**30:.1f} GiB on a device" if device else "")
    if available < _LITTLE_MEMORY_BYTES:
        return warning(text, "end other processes, or set data.workers to 0")
    return ok(text)


def _open_chips(process: Path) -> set[str]:
    """Returns the TPU chips that a process has open; an empty set if it has ended."""
    try:
        targets = {os.readlink(link) for link in (process / "fd").iterdir()}
    except (FileNotFoundError, NotADirectoryError, ProcessLookupError):
        return set()
    return {target for target in targets if _CHIP.fullmatch(target)}


def _command(process: Path) -> str:
    return _read(process / "cmdline").replace("\0", " ").strip() or "?"


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def _cure(error: str) -> str:
    known = (cure for part, cure in _CURES if part in error)
    return next(known, "for the full message: python -c 'import jax; print(jax.devices())'")
