"""Commands whose output is closed by its reader, and commands without arguments."""

import subprocess
import sys

import pytest

from flax_lite import convert, export, inspect, predict
from tests import breakages


@pytest.mark.parametrize("lines", [1, 50_000])
def test_lines_that_the_reader_does_not_take_are_dropped(repository, lines):
    """`python -m flax_lite.inspect SOURCE --tensors | head`."""
    code = f"from flax_lite.files.output import print_lines; print_lines(['a line'] * {lines})"
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, cwd=repository, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


@pytest.mark.parametrize("command", [convert, export, inspect, predict])
def test_a_command_without_arguments_prints_its_usage(command, capsys):
    with pytest.raises(SystemExit) as end:
        command.main([])
    assert end.value.code == 2
    assert capsys.readouterr().err.startswith(f"usage: python -m {command.__name__}")


def test_breakages_have_a_help_and_name_an_unknown_one(capsys):
    with pytest.raises(SystemExit) as end:
        breakages.main(["--help"])
    assert end.value.code == 0
    assert "NAME" in capsys.readouterr().out
    with pytest.raises(SystemExit) as end:
        breakages.main(["nothing"])
    assert end.value.code == 2
    assert "there is no nothing" in capsys.readouterr().err
