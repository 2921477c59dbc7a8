"""Mutation tests: each of forty breakages of the code is caught by a test of its area."""

import ast

import pytest

from tests.breakages import BREAKAGES, REPOSITORY, caught_by, copy_checkout


@pytest.mark.parametrize("breakage", BREAKAGES.values(), ids=BREAKAGES)
def test_breakage_applies_to_the_code_as_it_is(breakage):
    source = (REPOSITORY / breakage.path).read_text()
    assert ast.dump(ast.parse(breakage.broken(source))) != ast.dump(ast.parse(source))
    assert all((REPOSITORY / path).exists() for path in breakage.tests.split())


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    target = tmp_path_factory.mktemp("checkout")
    copy_checkout(target)
    return target


@pytest.mark.slow  # one test process per breakage
@pytest.mark.parametrize("breakage", BREAKAGES.values(), ids=BREAKAGES)
def test_breakage_is_caught(breakage, checkout):
    assert caught_by(breakage, checkout)
