"""The README and the pages of docs/ stay true: their code runs, their commands are accepted, what they link exists."""

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
PAGES = {path.name: path.read_text() for path in sorted((REPOSITORY / "docs").glob("*.md"))} | {"README.md": README}


def blocks(text, language):
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


# In the order in which a reader would paste them. The code of docs/export.md runs in tests/flax_lite/export_test.py.
PYTHON = [code for page in ("README.md", "use.md", "checkpoints.md") for code in blocks(PAGES[page], "python")]
COMMANDS = list(
    dict.fromkeys(line for text in PAGES.values() for code in blocks(text, "bash") for line in code.splitlines())
)
JOBS = [line[line.index("python -m train.") :] for line in COMMANDS if "python -m train." in line]
# Those of docs/export.md, which name other directories, run in tests/flax_lite/export_test.py.
LIBRARY_COMMANDS = [line for line in COMMANDS if line.startswith("python -m flax_lite.") and "my_model" not in line]
# The last column of the migration table: the code that a reader pastes instead.
_TABLE = PAGES["checkpoints.md"].partition("| Hugging Face Flax, up to transformers 4 | flax_lite |")[2]
REPLACEMENTS = [
    code
    for line in _TABLE.partition("\n\n")[0].splitlines()
    for code in re.findall(r"`([^`]+)`", line.split("|")[-2:][0])
]
MIGRATION = "\n".join(
    (
        'x, inputs, key = "albert-base-v2", dict(batch), jax.random.key(0)',
        *REPLACEMENTS,
        'print("migrated")',
    )
)


def test_parts_of_the_documents_are_found():
    assert len(PYTHON) == 5
    assert len(REPLACEMENTS) >= 12
    assert len(LIBRARY_COMMANDS) == 6
    assert len(JOBS) >= 25


def test_every_command_is_of_a_kind_that_a_test_runs():
    """Downloads and `pip install` run in tests/train/data/pretraining/wikipedia_test.py and .ci/run."""
    known = ("python -m train.", "python -m flax_lite.", "pip install -e ", "hf download ")
    assert [line for line in COMMANDS if not line.startswith(known)] == []


def test_readme_has_its_two_commands_and_stays_short():
    lines = README.splitlines()
    assert "pip install -e . && python -m train.pretrain --config configs/albert_tiny.py" in lines
    assert "pip install -e '.[test]' && pytest" in lines
    assert len(lines) <= 150


# Before the blocks: initial values are constants. Drawing them is most of what is compiled, and no block reads them.
PREAMBLE = """
import jax
jax.nn.initializers.truncated_normal = lambda stddev, **_: jax.nn.initializers.constant(stddev)
"""
FILES = re.compile(r"pretrained|pipeline|open\(")


def traced(codes):
    """The blocks; neighbors that neither read nor write files are only traced, in one program."""
    for uses_files, group in itertools.groupby(codes, lambda code: bool(FILES.search(code))):
        code = "\n".join(group)
        yield code if uses_files else f"jax.eval_shape(lambda: exec({code!r}, globals()))"


def run_python(code, folder):
    """Runs code in a process of its own, which reads the hub's settings when it starts; returns its output.

    The hub is a fake one, on which the documents' model is tiny.
    """
    tiny.make("MaskedLM", tiny.albert(max_position_embeddings=64, vocab_size=60)).save_pretrained(folder / "hub")
    tiny_files.write_sentencepiece(folder / "hub")
    (folder / "documents.py").write_text(code)
    settings = {
        "HF_HOME": str(folder / "home"),
        "HF_HUB_OFFLINE": "0",
        "PYTHONPATH": str(REPOSITORY),
        "XLA_FLAGS": f"{os.environ['XLA_FLAGS']} --xla_backend_optimization_level=0",  # compiles in half the time
    }
    with fake_hub.serve() as hub:
        hub.add("albert-base-v2", {path.name: path.read_bytes() for path in (folder / "hub").iterdir()})
        environment = {**os.environ, **settings, "HF_ENDPOINT": hub.url}
        command = [sys.executable, "documents.py"]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.fixture
def ran(once):
    """A directory where the Python blocks ran one after the other, as a reader would paste them."""

    def make(folder):
        guesses, *rest = run_python("\n".join([PREAMBLE, *traced(PYTHON), MIGRATION]), folder)
        assert guesses.count("'score'") == 2
        assert rest == ["migrated"]

    return once("documents", make)


def test_python_of_the_documents_runs(ran):
    assert (ran / "my-classifier" / "model.safetensors").exists()


@pytest.mark.slow  # 180 small programs for docs/use.md; tests/flax_lite/models/compose_test.py runs such code
def test_python_of_the_documents_runs_as_it_stands(tmp_path):
    assert run_python("\n".join([*PYTHON, MIGRATION]), tmp_path)[-1] == "migrated"


@pytest.mark.filterwarnings("ignore:.* found in sys.modules:RuntimeWarning")  # another test may have imported it
@pytest.mark.parametrize("line", LIBRARY_COMMANDS)
def test_library_command_runs(ran, line, tmp_path, monkeypatch, capsys):
    """On the files that the Python blocks wrote, in a copy without the large and the foreign ones."""
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
def test_job_command_is_accepted(line, monkeypatch, capsys):
    monkeypatch.chdir(REPOSITORY)
    _, _, module, *arguments = shlex.split(line, comments=True)
    job = importlib.import_module(module)
    shown = [] if "--help" in arguments else ["--print_config"]
    if hasattr(job, "main"):  # it has options of its own
        assert job.main([*arguments, *shown]) == 0
        return
    # Commands that are no job of their own take the options of the config's job.
    name = module.removeprefix("train.")
    table = {"finetune": FINETUNE_OPTIONS, "evaluate": EVALUATE_OPTIONS}.get(name) or JOB_OPTIONS.get(name, JOB_OPTIONS)
    assert cli.main(name, table, job.run, [*arguments, *shown], plan=getattr(job, "plan", None)) == 0
    assert "total_steps" in capsys.readouterr().out


DOCUMENTS = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda file: str(file.relative_to(REPOSITORY)))
def test_links_of_a_document_lead_somewhere(document):
    links = [link for link in re.findall(r"\]\(([^)]*)\)", document.read_text()) if "://" not in link]
    assert links or document.name != "README.md"
    for link in links:
        path, _, section = link.partition("#")
        target = document.parent / path if path else document
        assert target.exists(), link
        assert not section or section in anchors(target.read_text()), link


def anchors(text):
    """The names that GitHub gives to a page's headings."""
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
