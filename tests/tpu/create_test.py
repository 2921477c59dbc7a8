"""tpu/create.sh: the request, the states it waits for, and the end of the wait."""

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
def test_create_requests_a_spot_vm_with_the_accelerators_image(dry, kind, image):
    line = CREATE_LINE.format(type=kind, image=image, tier=" --spot")
    assert dry("create.sh", *WHERE, "--accelerator_type", kind) == [line, DESCRIBE]


@pytest.mark.parametrize(
    ("options", "tier"),
    [(["--on_demand"], ""), (["--flex_start=4h"], " --provisioning-model=flex-start --max-run-duration=4h")],
)
def test_create_requests_other_tiers(dry, options, tier):
    line = CREATE_LINE.format(type="v6e-8", image="an-image", tier=tier)
    if "flex" in tier:
        line = line.replace("gcloud compute", "gcloud alpha compute")
    given = ("--accelerator_type=v6e-8", "--runtime_version=an-image", *options)
    assert dry("create.sh", *WHERE, *given) == [line, DESCRIBE]


def test_create_passes_on_the_project_and_gcloud_flags(dry):
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


def test_create_refuses_two_tiers_and_invalid_times(cloud):
    assert "give one" in cloud.run("create.sh", *CREATE, "--on_demand", "--flex_start=4h").stderr
    done = cloud.run("create.sh", *CREATE, "--wait_seconds=long")
    assert done.returncode == 2
    assert "whole number" in done.stderr


def test_create_prints_each_state_and_waits_for_the_last(cloud):
    cloud.write("coming.json", [["WAITING_FOR_RESOURCES", "PROVISIONING"]])
    done = cloud.run("create.sh", *CREATE, "--poll_seconds=0")
    assert done.returncode == 0, done.stderr
    printed = [line.split(" after ")[0] for line in done.stderr.splitlines()]
    assert printed == [f"create: albert is {state}" for state in ("WAITING_FOR_RESOURCES", "PROVISIONING", "ACTIVE")]
    assert cloud.run("create.sh", *CREATE).returncode == 0
    assert cloud.calls() == ["create"]


def test_create_continues_waiting_for_an_existing_request(cloud):
    cloud.write("coming.json", [["WAITING_FOR_RESOURCES"] * 3])
    waited = cloud.run("create.sh", *CREATE, "--wait_seconds=0")
    assert waited.returncode == 75
    assert "continues waiting" in waited.stderr
    assert cloud.run("create.sh", *CREATE, "--poll_seconds=0").returncode == 0
    assert cloud.calls() == ["create"]


def test_create_stops_at_a_request_that_failed(cloud):
    cloud.write("coming.json", [["FAILED"]])
    done = cloud.run("create.sh", *CREATE)
    assert done.returncode == 1
    assert "tpu/delete.sh --name albert --zone us-west4-a" in done.stderr
