"""Fake machines for the doctor's tests: without problems, except for what a test changes."""

import dataclasses

from tpu.machine import Machine, Options
from tpu.probing import Probe

TPU = {"platform": "tpu", "kind": "TPU v5 lite", "count": 8, "local_count": 8, "memory_bytes": 16 * 2**30}
CPU = {"platform": "cpu", "kind": "cpu", "count": 1, "local_count": 1, "memory_bytes": None}
SUM = {"devices": 8, "correct": True, "bytes_per_second": 40e9}
JAX_REQUIRES = ["jaxlib<=0.12.0.1,>=0.11.2", "numpy>=2.2", "libtpu==0.0.50.*; extra == 'tpu'"]
VERSIONS = {"jax": "0.12.0.1", "jaxlib": "0.12.0.1", "flax": "0.12.12", "numpy": "2.3.0", "libtpu": "0.0.50.1"}


def probed(devices=TPU, collective=SUM, **more):
    return Probe({"devices": devices, "collective": collective, **more})


def stopped(at, error="", timed_out=False, **stages):
    return Probe(stages, at, error, timed_out)


class Machines:
    """Makes fake machines whose files are in a folder."""

    def __init__(self, folder):
        self.folder = folder
        self.pyproject = folder / "pyproject.toml"
        self.requires()
        for name in ("dev", "proc", "tmp"):
            (folder / name).mkdir()

    def requires(
        self, python=">=3.11,<3.14", dependencies=("jax>=0.11.1,<0.13", "flax>=0.12.12,<0.13", "numpy>=2.2,<3")
    ):
        self.pyproject.write_text(f'[project]\nrequires-python = "{python}"\ndependencies = {list(dependencies)}\n')

    def device(self, name):
        path = self.folder / "dev" / name
        path.parent.mkdir(exist_ok=True)
        path.touch()

    def process(self, number, command, *opened):
        folder = self.folder / "proc" / str(number)
        (folder / "fd").mkdir(parents=True)
        (folder / "cmdline").write_text("\0".join(command.split()) + "\0")
        for index, target in enumerate(opened):
            (folder / "fd" / str(index)).symlink_to(target)

    def make(self, probe=None, versions=(), environ=(), **options):
        """Returns a machine; `versions` and `environ` override those of a machine without problems."""
        installed = {**VERSIONS, **dict(versions)}
        return Machine(
            options=Options(**options),
            environ={"PATH": "", **dict(environ)},
            root=self.folder,
            version=installed.get,
            requirements=lambda package: JAX_REQUIRES if package == "jax" else [],
            pyproject=self.pyproject,
            start_jax=lambda request, environ: dataclasses.replace(probe or probed()),
        )
