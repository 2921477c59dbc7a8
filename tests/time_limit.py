"""`pytest --time-limit SECONDS`: tests that have not begun by then are skipped, and one case of each comes first.

For a run that must end in time wherever it runs: what breaks with another version of a library seldom breaks in one
case of a test alone.
"""

import collections
import time

import pytest

_STARTED = time.monotonic()
_CASE = pytest.StashKey[int]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds the option."""
    parser.addoption(
        "--time-limit", type=float, metavar="SECONDS", help="skip what has not begun by then; one case of each first"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The first case of each test, then the others; both in the order that they had."""
    if config.getoption("time_limit") is None:
        return
    cases = collections.Counter[str]()
    for item in items:
        item.stash[_CASE] = cases[name := item.nodeid.partition("[")[0]]
        cases[name] += 1
    items.sort(key=lambda item: item.stash[_CASE] > 0)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skips what begins too late, before its fixtures are made."""
    limit = item.config.getoption("time_limit")
    if limit is not None and time.monotonic() - _STARTED > limit:
        pytest.skip(f"not begun in {limit:g} s")
