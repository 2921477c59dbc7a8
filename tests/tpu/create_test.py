"""What is asked for, which states are waited for, and where the waiting ends."""

import pytest

from tests.tpu.cloud import CREATE
from tests.tpu.lines import CREATE_LINE, DESCRIBE, WHERE


@pytest.mark.parametrize(
    ("kind", "image"),
    [
        ("v5litepod-8", "v2-alpha-tpuv5-lite"),
        ("v6e-4", "v2-alpha-tpuv6e"),
        ("v5p-8", "v2-alpha-tpuv5"),
        ("v4-8", "tpu-ubuntu2204-base"),
        ("v3-8", "tpu-ubuntu2204-base"),
    ],
)
def test_create_asks_for_a_spot_vm_with_the_accelerators_image(dry, kind, image):
    line = CREATE_LINE.format(type=kind, image=image, tier=" --spot")
    assert dry("create.sh", *WHERE, "--accelerator_type", kind) == [line, DESCRIBE]


@pytest.mark.parametrize(
    ("options", "tier"),
    [(["--on_demand"], ""), (["--flex_start=4h"], " --provisioning-model=flex-start --max-run-duration=4h")],
)
def test_create_asks_for_other_tiers(dry, options, tier):
    line = CREATE_LINE.format(type="v6e-8", image="an-image", tier=tier)
    if "flex" in tier:
        line = line.replace("gcloud compute", "gcloud alpha compute")
    given = ("--accelerator_type=v6e-8", "--runtime_version=an-image", *options)
    assert dry("create.sh", *WHERE, *given) == [line, DESCRIBE]


def test_create_hands_on_a_project_and_more_arguments(dry):
    given = (
        *WHERE,
        "--accelerator_type=v6e-8",
        "--project=mine",
        "--gcloud_flag=--network=a b",
        "--gcloud_flag",
        "--x",
    )
    for script, more in (("create.sh", ()), ("watch_and_resume.sh", ("--", "true"))):
        created, described, *_ = dry(script, *given, *more)
        assert created.endswith("--spot --zone=us-west4-a --project=mine '--network=a b' --x")
        assert described == f"{DESCRIBE} --project=mine"


@pytest.mark.parametrize(
    ("kind", "cure"),
    [("v5e-8", "v5litepod-8"), ("tpu7x-8", "GKE"), ("h100", "--runtime_version")],
)
def test_create_refuses_other_accelerators(cloud, kind, cure):
    done = cloud.run("create.sh", *WHERE, "--accelerator_type", kind, "--dry_run")
    assert done.returncode == 2
    assert cure in done.stderr


def test_create_refuses_two_tiers_and_times_that_are_none(cloud):
    assert "give one" in cloud.run("create.sh", *CREATE, "--on_demand", "--flex_start=4h").stderr
    done = cloud.run("create.sh", *CREATE, "--wait_seconds=long")
    assert done.returncode == 2
    assert "whole number" in done.stderr


def test_create_says_each_state_and_waits_for_the_last(cloud):
    cloud.write("coming.json", [["WAITING_FOR_RESOURCES", "PROVISIONING"]])
    done = cloud.run("create.sh", *CREATE, "--poll_seconds=0")
    assert done.returncode == 0, done.stderr
    said = [line.split(" after ")[0] for line in done.stderr.splitlines()]
    assert said == [f"create: albert is {state}" for state in ("WAITING_FOR_RESOURCES", "PROVISIONING", "ACTIVE")]
    assert cloud.run("create.sh", *CREATE).returncode == 0
    assert cloud.calls() == ["create"]


def test_create_goes_on_waiting_for_a_request_that_is_there(cloud):
    cloud.write("coming.json", [["WAITING_FOR_RESOURCES"] * 3])
    waited = cloud.run("create.sh", *CREATE, "--wait_seconds=0")
    assert waited.returncode == 75
    assert "goes on waiting" in waited.stderr
    assert cloud.run("create.sh", *CREATE, "--poll_seconds=0").returncode == 0
    assert cloud.calls() == ["create"]


def test_create_stops_at_a_request_that_failed(cloud):
    cloud.write("coming.json", [["FAILED"]])
    done = cloud.run("create.sh", *CREATE)
    assert done.returncode == 1
    assert "tpu/delete.sh --name albert --zone us-west4-a" in done.stderr
