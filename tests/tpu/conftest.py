import pytest

from tests.tpu.cloud import Cloud


@pytest.fixture
def cloud(tmp_path):
    cloud = Cloud(tmp_path)
    yield cloud
    cloud.end_jobs()


@pytest.fixture
def pod(tmp_path):
    """A cloud whose TPU VM has two workers."""
    pod = Cloud(tmp_path, workers=2)
    yield pod
    pod.end_jobs()


@pytest.fixture
def dry(cloud):
    """Runs a script with --dry_run and returns its lines; gcloud must not be called."""

    def run(script, *arguments):
        done = cloud.run(script, *arguments, "--dry_run") if "--" not in arguments else _before(script, arguments)
        assert done.returncode == 0, done.stderr
        assert not (cloud.folder / "calls").exists()
        return done.stdout.splitlines()

    def _before(script, arguments):
        end = arguments.index("--")
        return cloud.run(script, *arguments[:end], "--dry_run", *arguments[end:])

    return run
