"""Checks of the installation: each fault is simulated and has to be reported."""

import platform
import tomllib

from tests.conftest import REPOSITORY
from tpu.checks import installation
from tpu.machine import Machine


def test_python_in_bounds_is_ok(machines):
    found = installation.python(machines.make())
    assert found.status == "ok"
    assert platform.python_version() in found.message


def test_python_out_of_bounds_is_a_failure(machines):
    machines.requires(python=">=3.14")
    found = installation.python(machines.make())
    assert found.status == "failure"
    assert "flax_lite needs >=3.14" in found.message
    assert "uv venv" in found.cure


def test_packages_that_fit_are_ok(machines):
    found = installation.packages(machines.make())
    assert found.status == "ok"
    assert found.message == "jax 0.12.0.1, flax 0.12.12; 4 requirements are met"


def test_packages_name_every_wrong_version(machines):
    """For example an older Flax with a newer JAX, which fails at import."""
    found = installation.packages(machines.make(versions={"flax": "0.12.8", "numpy": None, "jaxlib": "0.10.2"}))
    assert found.status == "failure"
    assert "flax 0.12.8 is installed, <0.13,>=0.12.12 is needed" in found.message
    assert "numpy is not installed" in found.message
    assert "jaxlib 0.10.2 is installed, <=0.12.0.1,>=0.11.2 is needed" in found.message
    assert "--constraint constraints/py3" in found.cure
    assert (REPOSITORY / found.cure.split()[3]).is_file()


def test_packages_of_another_python_are_not_needed(machines):
    machines.requires(dependencies=("jax>=0.11.1", "flax>=99; python_version < '3.0'"))
    assert installation.packages(machines.make()).status == "ok"


def test_packages_read_the_bounds_of_this_project():
    names = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["dependencies"]
    found = installation.packages(Machine())
    assert found.status == "ok", found.message
    assert any(name.startswith("jax>=") for name in names)


def test_libtpu_is_checked_if_there_is_a_tpu(machines):
    assert installation.libtpu(machines.make()).status == "not applicable"
    machines.device("accel0")
    assert installation.libtpu(machines.make()).status == "ok"
    assert installation.libtpu(machines.make(expect_platform="gpu")).status == "not applicable"


def test_libtpu_missing_or_of_another_jax_is_a_failure(machines):
    for version, message in (
        (None, "libtpu is not installed"),
        ("0.0.42.1", "libtpu 0.0.42.1 is installed, ==0.0.50.*"),
    ):
        found = installation.libtpu(machines.make(expect_platform="tpu", versions={"libtpu": version}))
        assert found.status == "failure"
        assert message in found.message
        assert "'.[tpu]'" in found.cure


def test_libtpu_replaced_by_the_environment_is_a_warning(machines):
    found = installation.libtpu(machines.make(expect_platform="tpu", environ={"TPU_LIBRARY_PATH": "/old/libtpu.so"}))
    assert found.status == "warning"
    assert "/old/libtpu.so" in found.message
