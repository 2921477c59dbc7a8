"""The command line: parsing, error messages, help, exit statuses."""

import errno
import json
import os
import runpy
import shlex
import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY
from tests.train import toy
from train.errors import RunError, StopError, UserError
from train.options import cli, schema


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A checkout with configs/toy.py and configs/tasks.py."""
    (tmp_path / "configs").mkdir()
    toy.write_config(tmp_path / "configs")
    body = (tmp_path / "configs" / "toy.py").read_text()
    extra = "    if 'smoke' in variant:\n        config.total_steps = 2\n    return config\n"
    body = body.replace("    return ConfigDict", "    config = ConfigDict") + extra
    (tmp_path / "configs" / "tasks.py").write_text(f"VARIANTS = ('sst2', 'mnli')\n{body}")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def read(*argv):
    """Runs the command line with a job that keeps its request."""
    requests = []
    status = cli.main("toy", toy.OPTIONS, requests.append, argv, help_config="configs/toy.py")
    return status, requests[0] if requests else None


def test_main_hands_over_the_resolved_request(folder):
    status, request = read(
        "--config=configs/toy.py", "--config.batch_size", "32", "--config.data.bad_step=7", "--config.keep_best", "true"
    )
    assert status == 0
    assert request.config.batch_size == 32
    assert request.config.data.bad_step == 7
    assert request.config.keep_best is True
    assert request.config.seed == 0
    assert str(request.workdir) == "runs/toy"
    assert request.values["optimizer.learning_rate"] == 0.05


def test_every_option_can_be_overridden(folder):
    texts = {int: "3", float: "0.5", bool: "true", str: "x"}
    for option in toy.OPTIONS:
        text = option.choices[-1] if option.choices else texts[schema.form_of(option)[0]]
        status, request = read("--config", "configs/toy.py", f"--config.{option.path}={text}")
        assert status == 0, option.path
        assert request.values[option.path] == schema.parse(option, text)
        if schema.form_of(option)[1]:
            assert read("--config", "configs/toy.py", f"--config.{option.path}", "none")[1].values[option.path] is None


@pytest.mark.parametrize(
    ("spec", "steps", "name"),
    [("configs/tasks.py:sst2", 20, "tasks-sst2"), ("configs/tasks.py:sst2,smoke", 2, "tasks-sst2-smoke")],
)
def test_variants_reach_the_config_and_name_the_work_directory(folder, spec, steps, name):
    request = read("--config", spec)[1]
    assert request.config.total_steps == steps
    assert request.workdir.name == name


@pytest.mark.parametrize(
    ("argv", "parts"),
    [
        ([], ["--config is missing", "configs/tasks.py, configs/toy.py", "usage: python -m train.toy --config FILE"]),
        (["--config", "configs/toi.py"], ["no config file configs/toi.py", "nearest is configs/toy.py"]),
        (["--config", "configs/toy"], ["no config file configs/toy,", "nearest is configs/toy.py"]),
        (["--config", "configs/tasks.py"], ["configs/tasks.py:sst2", "configs/tasks.py:mnli"]),
        (["--config", "configs/tasks.py:sst"], ["no variant sst", "sst2, mnli, smoke"]),
        (["--config", "configs/toy.py:tiny"], ["no variant tiny", "smoke"]),
        (["--config", "configs/toy.py", "--config.sed=1"], ["unknown option --config.sed", "config.seed"]),
        (["--config", "configs/toy.py", "--batch_size=1"], ["unknown option --batch_size", "config.batch_size"]),
        (["--config", "configs/toy.py", "--config.learning_rate=1"], ["config.optimizer.learning_rate"]),
        (["--config", "configs/toy.py", "--config.mesh=1"], ["is a group", "mesh.data"]),
        (["--config", "configs/toy.py", "--config.batch_size=abc"], ["batch_size=abc", "a whole number"]),
        (["--config", "configs/toy.py", "--config.batch_size=0"], ["at least 1"]),
        (["--config", "configs/toy.py", "--config.execution.dtype=float16"], ["auto | float32 | bfloat16"]),
        (["--config", "configs/toy.py", "--config.seed"], ["Missing value", "config.seed"]),
        (["--config", "configs/toy.py", "go", "--config.seed=1", "on"], ["not understood: go on"]),
        (["--config", "configs/toy.py", "--workdri=x"], ["unknown option --workdri", "workdir"]),
    ],
)
def test_mistakes_get_one_clean_message_and_status_2(folder, capsys, argv, parts):
    status, request = read(*argv)
    output = capsys.readouterr()
    assert (status, request, output.out) == (2, None, "")
    for part in parts:
        assert part in output.err
    assert "Traceback" not in output.err


@pytest.mark.parametrize(
    ("body", "parts"),
    [
        ("x = 1 +\n", ["line 1", "SyntaxError"]),
        ("y = 1\nimport nothing_like_this\n", ["line 2", "ModuleNotFoundError"]),
        ("x = 1\n", ["get_config"]),
        ("def get_config(variant=''):\n    raise ValueError('give a teacher')\n", ["line 2", "give a teacher"]),
        (
            "from ml_collections import ConfigDict\ndef get_config(variant=''):\n    return ConfigDict({}).seed\n",
            ["line 3", "'seed'", "can read only the options that it or its base sets"],
        ),
        (
            "from ml_collections import ConfigDict\ndef get_config(variant=''):\n    return ConfigDict({})\n",
            ["batch_size is missing"],
        ),
    ],
)
def test_faulty_config_files_are_named(folder, capsys, body, parts):
    (folder / "mine.py").write_text(body)
    assert read("--config", "mine.py")[0] == 2
    error = capsys.readouterr().err
    assert "mine.py" in error
    for part in parts:
        assert part in error


def test_configs_may_build_on_others_of_the_checkout(folder, repository, monkeypatch):
    """`from configs import X` finds the checkout's configs wherever the job is started."""
    (folder / "mine.py").write_text((folder / "configs" / "toy.py").read_text() + "\nimport train.options.schema\n")
    monkeypatch.setattr("sys.path", [entry for entry in cli.sys.path if entry not in ("", ".", str(repository))])
    assert read("--config", "mine.py")[0] == 0


def test_help_lists_every_option_with_default_and_line(folder, capsys):
    assert read("--help")[0] == 0
    lines = capsys.readouterr().out.splitlines()
    for option in toy.OPTIONS:
        (line,) = [line for line in lines if line[2:].startswith(f"--config.{option.path}=")]
        assert option.doc in line
        assert line.startswith("*") == (option.on_resume == "free")
    assert any("--config.optimizer.learning_rate=0.05 " in line for line in lines)
    assert any("--config.data.bad_step=none " in line for line in lines)


def test_print_config_prints_the_resolved_whole(folder, capsys):
    assert read("--config", "configs/toy.py", "--config.mesh.data=4", "--print_config")[0] == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["mesh"] == {"data": 4, "fsdp": 1}
    assert set(schema.flatten(printed)) == {option.path for option in toy.OPTIONS}


@pytest.mark.parametrize(("error", "status"), [(UserError, 2), (RunError, 1), (StopError, 75)])
def test_main_turns_job_errors_into_statuses(folder, capsys, error, status):
    def fail(request):
        raise error("said once")

    assert cli.main("toy", toy.OPTIONS, fail, ["--config", "configs/toy.py"]) == status
    assert capsys.readouterr().err == "toy: said once\n"


def test_main_names_the_file_when_a_disk_is_full(folder, capsys):
    def fail(request):
        raise OSError(errno.ENOSPC, "No space left on device", "metrics.jsonl")

    assert cli.main("toy", toy.OPTIONS, fail, ["--config", "configs/toy.py"]) == 1
    assert "No space left on device: 'metrics.jsonl'" in capsys.readouterr().err


@pytest.mark.compat
@pytest.mark.parametrize(
    ("job", "config"),
    [
        ("pretrain", "albert_tiny.py"),
        ("prepare", "albert_tiny.py"),
        ("show", "distilbert_tiny.py"),
        ("distill", "distilbert_tiny.py"),
        ("ablate", "distilbert_tiny.py"),
        ("finetune", "glue.py:sst2"),
        ("evaluate", "glue.py:sst2"),
    ],
)
def test_command_ends_with_the_status_of_its_job(job, config, repository, monkeypatch, capsys):
    """`python -m train.JOB`, in this process."""

    def status(*arguments):
        monkeypatch.setattr(sys, "argv", ["JOB", "--config", f"{repository}/configs/{config}", *arguments])
        with pytest.raises(SystemExit) as end:
            runpy.run_path(f"{repository}/train/{job}.py", run_name="__main__")
        return end.value.code

    monkeypatch.setattr(sys, "argv", ["JOB"])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(f"{repository}/train/{job}.py", run_name="__main__")
    assert end.value.code == 2
    assert f"\nusage: python -m train.{job} --config FILE" in capsys.readouterr().err
    assert status("--print_config") == 0
    assert '"total_steps"' in capsys.readouterr().out
    assert status("--config.sed=1") == 2
    assert capsys.readouterr().err.startswith(f"{job}: unknown option --config.sed, nearest is config.seed")


def test_help_ends_quietly_when_its_reader_closes_the_pipe(repository):
    """`--help | head -1`."""
    command = [sys.executable, "-m", "train.pretrain", "--help"]
    with subprocess.Popen(command, cwd=repository, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 1


def test_a_run_does_not_end_silently_on_a_broken_pipe(folder):
    """The broken pipe may be a worker's or a log's: that has to be reported."""

    def run(request):
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    with pytest.raises(BrokenPipeError):
        cli.main("toy", toy.OPTIONS, run, ["--config", "configs/toy.py"], help_config="configs/toy.py")


def test_a_run_whose_output_is_closed_ends_with_a_message(repository):
    """`python -m train.show ... | head -1`."""
    code = (
        "from train.options import cli; from train.options.tables import PRETRAIN_OPTIONS as options; "
        "argv = ['--config', 'configs/albert_tiny.py']; "
        "exit(cli.main('pretrain', options, lambda request: print('row ' * 30_000), argv))"
    )
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, cwd=repository, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        error = process.stderr.read().decode()
    assert process.returncode == 1
    assert error.startswith("pretrain: its output was closed by its reader")
    assert error.count("\n") == 1


def test_main_raises_defects(folder):
    with pytest.raises(ZeroDivisionError):
        cli.main("toy", toy.OPTIONS, lambda request: 1 / 0, ["--config", "configs/toy.py"])


def test_main_marks_absl_flags_as_parsed(folder):
    """Grain 0.2.18 reads a flag of the global table in its worker pool and fails if it was not parsed."""
    read("--config", "configs/toy.py")
    assert cli.flags.FLAGS.is_parsed()


def test_command_reproduces_the_request(folder):
    argv = ["--config", "configs/toy.py", "--workdir", "a b", "--config.data.source=x y", "--config.keep_best=true"]
    request = read(*argv)[1]
    arguments = shlex.split(request.command())
    assert arguments[:3] == ["python", "-m", "train.toy"]
    again = read(*arguments[3:])[1]
    assert again == request
    assert "--extend" in request.command(extend=True)


@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "cp1252", "utf-8"])
def test_any_text_can_be_printed_in_any_encoding(encoding):
    code = (
        "from train.options import cli; from train.options.tables import PRETRAIN_OPTIONS as options; "
        "argv = ['--config', 'configs/albert_tiny.py']; "
        "exit(cli.main('pretrain', options, lambda request: print('\\u6625 \\xe9'), argv))"
    )
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, env=environment, capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == "\u6625 \xe9\n".encode(encoding, errors="backslashreplace")
