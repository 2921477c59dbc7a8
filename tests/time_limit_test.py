"""`--time-limit`: one case of each test first, and nothing that begins too late."""

import subprocess
import sys

import pytest

CONFTEST = "from tests.time_limit import pytest_addoption, pytest_collection_modifyitems, pytest_runtest_setup\n"
TESTS = """
import pytest
from tests import time_limit

@pytest.fixture(scope="module")
def slow():
    time_limit._STARTED -= 5000

@pytest.mark.parametrize("case", [1, 2])
def test_early(slow, case): pass

@pytest.mark.parametrize("case", [1, 2])
def test_late(case): pass
"""


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((), ["early[1] PASSED", "early[2] PASSED", "late[1] PASSED", "late[2] PASSED"]),
        (("--time-limit=9000",), ["early[1] PASSED", "late[1] PASSED", "early[2] PASSED", "late[2] PASSED"]),
        (("--time-limit=4000",), ["early[1] PASSED", "late[1] SKIPPED", "early[2] SKIPPED", "late[2] SKIPPED"]),
    ],
)
def test_one_case_of_each_comes_first_and_what_is_late_is_skipped(options, expected, tmp_path, repository):
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "some_test.py").write_text(TESTS)
    (tmp_path / "pytest.ini").write_text(f"[pytest]\npythonpath = {repository}\npython_files = *_test.py\n")
    command = [sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", "-p", "no:xdist", *options]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    lines = [line.partition("::test_")[2] for line in done.stdout.splitlines() if "::test_" in line]
    assert [" ".join(line.split()[:2]) for line in lines] == expected
