"""The pages of tpu/ are correct: every command is accepted, every check is explained."""

import importlib
import re
import shlex

import pytest

from tests.conftest import REPOSITORY
from tests.tpu.cloud import Cloud
from tpu import doctor
from train.options import cli
from train.options.tables import JOB_OPTIONS

PAGES = {name: (REPOSITORY / "tpu" / name).read_text() for name in ("README.md", "TROUBLESHOOTING.md")}
BLOCKS = re.findall(r"```bash\n(.*?)```", PAGES["README.md"], re.DOTALL)
LINES = [line for block in BLOCKS for line in block.splitlines()]
EXPORTS = [line for line in LINES if line.startswith("export ")]
SCRIPTS = [line for line in LINES if line.startswith("tpu/")]
BATCHES = [line for line in LINES if line.startswith("sbatch ")]
DOCTORS = [line for line in LINES if line.startswith("python -m tpu.doctor")]
JOBS = [line.partition(" -- ")[2] for line in LINES if " -- " in line]


def test_readme_commands_are_all_tested():
    assert sorted(LINES) == sorted(EXPORTS + SCRIPTS + BATCHES + DOCTORS)
    walk = [line.split()[0] for line in BLOCKS[0].splitlines() if line.startswith("tpu/")]
    assert walk == [f"tpu/{name}.sh" for name in ("create", "setup", "launch", "logs", "status", "delete")]
    assert len(BATCHES) >= 2
    assert len(DOCTORS) >= 3


@pytest.mark.parametrize("line", SCRIPTS)
def test_readme_script_is_accepted(tmp_path, line):
    (exported,) = EXPORTS
    settings = dict(word.split("=", 1) for word in shlex.split(exported)[1:])
    script, *arguments = shlex.split(line)
    cloud = Cloud(tmp_path)
    done = cloud.run(script.removeprefix("tpu/"), "--dry_run", *arguments, **settings)
    assert done.returncode == 0, done.stderr
    printed = [command for command in done.stdout.splitlines() if command.startswith("gcloud compute")]
    assert printed
    assert all("albert" in line and line.endswith("--zone=us-west4-a --project=my-project") for line in printed)
    assert cloud.calls() == []


@pytest.mark.parametrize("line", BATCHES)
def test_readme_batch_is_accepted(tmp_path, line):
    words = shlex.split(line)
    script = words.index("tpu/slurm.sbatch")
    assert all(re.fullmatch(r"--(nodes|gpus-per-node|ntasks-per-node|time)=[\d:]+", word) for word in words[1:script])
    done = Cloud(tmp_path).run("slurm.sbatch", "--dry_run", *words[script + 1 :])
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("srun ")


@pytest.mark.parametrize("line", JOBS)
def test_readme_job_is_accepted(line, monkeypatch, capsys):
    monkeypatch.chdir(REPOSITORY)
    _, _, module, *arguments = shlex.split(line)
    job = importlib.import_module(module)
    assert cli.main(module.removeprefix("train."), JOB_OPTIONS, job.run, [*arguments, "--print_config"]) == 0
    assert '"total_steps"' in capsys.readouterr().out


@pytest.mark.parametrize("line", DOCTORS)
def test_readme_doctor_is_accepted(line):
    doctor.parser().parse_args(shlex.split(line)[3:])


@pytest.mark.parametrize("name", PAGES)
def test_pages_refer_to_existing_files_and_options(name):
    page = PAGES[name]
    for path in re.findall(r"tpu/[a-z_]+\.(?:sh|sbatch)", page) + re.findall(r"constraints/py\d+\.txt", page):
        assert (REPOSITORY / path).is_file(), path
    for link in re.findall(r"\]\(([^)#]+)\)", page):
        assert (REPOSITORY / "tpu" / link).exists(), link
    options = {option.path for table in JOB_OPTIONS.values() for option in table}
    assert set(re.findall(r"--config\.([a-z_.]+)=", page)) <= options


def test_pages_explain_every_check():
    for page in PAGES.values():
        named = set(re.findall(r"`([a-z_]+)`", page))
        assert set(doctor.CHECKS) <= named


def test_pages_quote_messages_of_the_scripts():
    """Messages of our scripts and jobs are quoted literally."""
    sources = [path.read_text() for path in (REPOSITORY / "tpu").rglob("*") if path.suffix in {".sh", ".py"}]
    sources += [path.read_text() for path in (REPOSITORY / "train").rglob("*.py")]
    for part in (
        "a job is running there",
        "the job hangs: nothing in its log for",
        "this TPU VM has several workers",
        "is already watching",
        "is a shallow clone",
        "was not checked",
        "cannot be written",
        "is in use by",
        "cannot be shared equally",
    ):
        assert part in PAGES["TROUBLESHOOTING.md"]
        assert any(part in source for source in sources), part
