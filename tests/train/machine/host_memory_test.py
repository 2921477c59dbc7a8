"""The C library keeps freed memory between steps, if it is glibc."""

import platform
import resource
import subprocess
import sys
import types

import jax
import numpy as np
import pytest

from tests.train import toy
from tests.train.forked import Process
from train import distill, finetune, pretrain
from train.machine import host_memory
from train.options import runtime

# Writes to 64 MiB, frees them and writes again: each newly mapped page is a page fault.
_PROGRAM = """
import resource, sys
import numpy as np
from train.machine.host_memory import keep_freed_memory

if sys.argv[1] == "keep":
    assert keep_freed_memory()
np.ones(2**26, np.uint8)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
np.ones(2**26, np.uint8)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


_RESIDENT = """
import numpy as np
from train.machine.host_memory import give_back_freed_memory, keep_freed_memory

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1])

assert keep_freed_memory()
np.ones(2**26, np.uint8)
kept = resident()
give_back_freed_memory()
print(kept - resident())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has the setting")
def test_kept_memory_can_be_returned():
    """Nearly all pages of 64 MiB: 16384 of 4 KiB."""
    done = subprocess.run([sys.executable, "-c", _RESIDENT], capture_output=True, text=True, check=True)
    assert int(done.stdout) > 15000


def page_faults(mode):
    done = subprocess.run([sys.executable, "-c", _PROGRAM, mode], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has the setting")
def test_kept_memory_is_not_mapped_again():
    """64 MiB are 16384 pages of 4 KiB, or 32 of 2 MiB."""
    assert page_faults("leave") >= 32
    assert page_faults("keep") < 16


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has the setting")
def test_a_job_on_cpu_keeps_its_memory(tmp_path):
    """It also runs its CPU programs in the calling thread."""
    words = ("--config", toy.write_config(tmp_path), "--workdir", tmp_path / "work", "--config.total_steps=2")
    status, output, errors = Process(*words, call=f"{__name__}:job_then_page_faults").end()
    assert status == 0, errors
    again, dispatches = output.splitlines()[-1].split()
    assert int(again) < 16
    assert dispatches == "False"


def job_then_page_faults():
    """Runs a job as its command does, then prints page faults for reused memory and the dispatch setting."""
    assert toy.main() == 0
    np.ones(2**26, np.uint8)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(2**26, np.uint8)
    again = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
    print(again, jax.config.read("jax_cpu_enable_async_dispatch"))


class SettledError(Exception):
    """Raised instead of configuring the runtime."""


@pytest.mark.parametrize("run", [pretrain.run, distill.run, finetune.run_request])
def test_every_job_configures_the_runtime_first(monkeypatch, run):
    def settle(values):
        raise SettledError

    monkeypatch.setattr(runtime, "settle_runtime", settle)
    with pytest.raises(SettledError):
        run(types.SimpleNamespace(values={}, sweep={}))


def test_other_c_libraries_are_left_alone(monkeypatch):
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert host_memory.keep_freed_memory() is False
