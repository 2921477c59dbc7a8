"""Checks of the installation: Python, the packages in pyproject.toml, libtpu.

`packaging` is a transitive dependency; it is imported inside the checks, so that the others run without it.
"""

import platform
import sys
from typing import TYPE_CHECKING

from tpu.machine import Finding, Machine, failure, not_applicable, ok, warning

if TYPE_CHECKING:
    from packaging.requirements import Requirement

# Named in the message of a correct installation, because this pair has to match.
_PAIR = ("jax", "flax")


def python(machine: Machine) -> Finding:
    """Checks that pyproject.toml allows this Python."""
    from packaging.specifiers import SpecifierSet

    allowed, found = SpecifierSet(machine.project["requires-python"]), platform.python_version()
    if allowed.contains(found, prereleases=True):
        return ok(f"Python {found} (flax_lite needs {allowed})")
    return failure(
        f"Python {found}, flax_lite needs {allowed}",
        "create the virtual environment with another Python: uv venv --python 3.12 .venv (tpu/setup.sh does)",
    )


def packages(machine: Machine) -> Finding:
    """Checks the versions of all required packages, and of the jaxlib that JAX requires."""
    from packaging.requirements import Requirement

    required = [Requirement(line) for line in machine.project["dependencies"]]
    required += [item for item in map(Requirement, machine.requirements("jax")) if item.name == "jaxlib"]
    wanted = [item for item in required if item.marker is None or item.marker.evaluate({"extra": ""})]
    faults = [fault for item in wanted if (fault := _fault(machine, item))]
    if faults:
        pins = f"constraints/py3{min(sys.version_info.minor, 12)}.txt"
        return failure("; ".join(faults), f"pip install --constraint {pins} --editable .")
    pair = ", ".join(f"{name} {machine.version(name)}" for name in _PAIR)
    return ok(f"{pair}; {len(wanted)} requirements are met")


def libtpu(machine: Machine) -> Finding:
    """Checks that the libtpu required by this JAX is installed, if a TPU is expected."""
    if not machine.expects("tpu"):
        return not_applicable("no TPU is expected here")
    from packaging.requirements import Requirement

    required = [Requirement(line) for line in machine.requirements("jax")]
    wanted = [r for r in required if r.name == "libtpu" and r.marker and r.marker.evaluate({"extra": "tpu"})]
    pins = f"constraints/py3{min(sys.version_info.minor, 12)}.txt"
    cure = f"pip install --constraint {pins} --editable '.[tpu]'"
    faults = [fault for item in wanted if (fault := _fault(machine, item))]
    if faults or not machine.version("libtpu"):
        return failure("; ".join(faults) or "libtpu is not installed", cure)
    if path := machine.environ.get("TPU_LIBRARY_PATH"):
        return warning(
            f"TPU_LIBRARY_PATH={path} overrides the installed libtpu {machine.version('libtpu')}",
            "unset TPU_LIBRARY_PATH",
        )
    return ok(f"libtpu {machine.version('libtpu')}, as jax {machine.version('jax')} requires")


def _fault(machine: Machine, requirement: "Requirement") -> str | None:
    found = machine.version(requirement.name)
    if found is None:
        return f"{requirement.name} is not installed ({requirement.specifier} is needed)"
    if not requirement.specifier.contains(found, prereleases=True):
        return f"{requirement.name} {found} is installed, {requirement.specifier} is needed"
    return None
