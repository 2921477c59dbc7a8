"""The README stays true: its code runs, its commands are accepted, what it names exists."""

import importlib
import itertools
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY
from tests.flax_lite import fake_hub, tiny
from tests.flax_lite.tokenization import tiny_files
from train.evaluate import EVALUATE_OPTIONS
from train.options import cli
from train.options.tables import JOB_OPTIONS
from train.options.task_tables import FINETUNE_OPTIONS

README = (REPOSITORY / "README.md").read_text()
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, re.DOTALL)
PYTHON = [code for language, code in BLOCKS if language == "python"]
COMMANDS = [line for language, code in BLOCKS if language == "bash" for line in code.splitlines()]
JOBS = [line[line.index("python -m train.") :] for line in COMMANDS if "python -m train." in line]
LIBRARY_COMMANDS = [line for line in COMMANDS if line.startswith("python -m flax_lite.")]
# The right column of the migration table: what a reader pastes instead.
_TABLE = README.partition("| Hugging Face Flax, up to transformers 4 | flax_lite |")[2].partition("\n\n")[0]
REPLACEMENTS = [code for line in _TABLE.splitlines() for code in re.findall(r"`([^`]+)`", line.split("|")[-2:][0])]
MIGRATION = "\n".join(
    (
        'x, inputs, key = "albert-base-v2", dict(batch), jax.random.key(0)',
        *REPLACEMENTS,
        'print("migrated")',
    )
)


def test_readme_parts_are_found():
    assert len(REPLACEMENTS) >= 12
    assert len(LIBRARY_COMMANDS) >= 3
    assert len(JOBS) >= 4


def test_readme_has_its_two_commands():
    lines = README.splitlines()
    assert "pip install -e . && python -m train.pretrain --config configs/albert_tiny.py" in lines
    assert "pip install -e '.[test]' && pytest" in lines


# Before the blocks: initial values are constants. Drawing them is most of what is compiled, and nobody looks at them.
PREAMBLE = """
import jax
jax.nn.initializers.truncated_normal = lambda stddev, **_: jax.nn.initializers.constant(stddev)
"""
FILES = re.compile(r"pretrained|pipeline|open\(")


def traced(blocks):
    """The blocks; neighbors that read and write no file are traced together, and so neither compiled nor run."""
    for uses_files, group in itertools.groupby(blocks, lambda code: bool(FILES.search(code))):
        code = "\n".join(group)
        yield code if uses_files else f"jax.eval_shape(lambda: exec({code!r}, globals()))"


def run_python(code, folder):
    """Runs code in a process of its own, which reads the hub's settings as it starts; what it printed.

    The hub is a fake one, on which the README's model is tiny.
    """
    tiny.make("MaskedLM", tiny.albert(max_position_embeddings=64, vocab_size=60)).save_pretrained(folder / "hub")
    tiny_files.write_sentencepiece(folder / "hub")
    (folder / "readme.py").write_text(code)
    settings = {
        "HF_HOME": str(folder / "home"),
        "HF_HUB_OFFLINE": "0",
        "PYTHONPATH": str(REPOSITORY),
        "XLA_FLAGS": f"{os.environ['XLA_FLAGS']} --xla_backend_optimization_level=0",  # compiles in half the time
    }
    with fake_hub.serve() as hub:
        hub.add("albert-base-v2", {path.name: path.read_bytes() for path in (folder / "hub").iterdir()})
        environment = {**os.environ, **settings, "HF_ENDPOINT": hub.url}
        command = [sys.executable, "readme.py"]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def ran(once):
    """A directory where the Python blocks ran one after the other, as a reader would paste them."""

    def make(folder):
        assert len(PYTHON) >= 4
        printed = run_python("\n".join([PREAMBLE, *traced(PYTHON), MIGRATION]), folder)
        assert printed.splitlines() == ["migrated"]

    return once("readme", make)


def test_readme_python_runs(ran):
    assert (ran / "my-classifier" / "model.safetensors").exists()


@pytest.mark.slow  # 180 small programs for "In research"; tests/flax_lite/models/compose_test.py runs such code
def test_readme_python_runs_as_it_stands(tmp_path):
    assert run_python("\n".join([*PYTHON, MIGRATION]), tmp_path).splitlines() == ["migrated"]


@pytest.mark.filterwarnings("ignore:.* found in sys.modules:RuntimeWarning")  # another test may have imported it
@pytest.mark.parametrize("line", LIBRARY_COMMANDS)
def test_readme_command_runs(ran, line, tmp_path, monkeypatch, capsys):
    """On what the Python blocks left behind, of which it gets a copy without the large and the foreign."""
    shutil.copytree(ran, tmp_path / "copy", ignore=shutil.ignore_patterns("my-albert", "home", "hub"))
    monkeypatch.chdir(tmp_path / "copy")
    _, _, module, *arguments = shlex.split(line)
    monkeypatch.setattr(sys, "argv", [module, *arguments])
    with pytest.raises(SystemExit) as end:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    shown = capsys.readouterr()
    assert end.value.code == 0, shown.err
    assert shown.out


@pytest.mark.parametrize("line", JOBS)
def test_readme_job_is_accepted(line, monkeypatch, capsys):
    monkeypatch.chdir(REPOSITORY)
    _, _, module, *arguments = shlex.split(line, comments=True)
    job = importlib.import_module(module)
    if hasattr(job, "main"):  # it has options of its own
        assert job.main([*arguments, "--print_config"]) == 0
        return
    # Those that are no job of their own take the options of the config's job.
    name = module.removeprefix("train.")
    table = {"finetune": FINETUNE_OPTIONS, "evaluate": EVALUATE_OPTIONS}.get(name) or JOB_OPTIONS.get(name, JOB_OPTIONS)
    assert cli.main(name, table, job.run, [*arguments, "--print_config"]) == 0
    assert '"total_steps"' in capsys.readouterr().out


DOCUMENTS = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda file: str(file.relative_to(REPOSITORY)))
def test_files_that_a_document_links_exist(document):
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", document.read_text()) if "://" not in link]
    assert links or document.name != "README.md"
    assert all((document.parent / link).exists() for link in links), links
