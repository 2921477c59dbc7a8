"""The documented commands that download and tokenize a slice of Wikipedia, run against a local fake hub."""

import io
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.flax_lite import fake_hub
from train import prepare, pretrain
from train.options import cli
from train.options.tables import PRETRAIN_OPTIONS

pyarrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

COMMANDS = [
    shlex.split(line)
    for block in re.findall(r"```bash\n(.*?)```", (REPOSITORY / "docs" / "data.md").read_text(), re.DOTALL)
    for line in block.splitlines()
]


def _command(beginning):
    (found,) = [command for command in COMMANDS if " ".join(command).startswith(beginning)]
    return found


def _file(numbers):
    """Returns articles with the columns of the data set: id, url, title, text."""
    columns = {
        "id": [str(number) for number in numbers],
        "url": [f"https://en.wikipedia.org/wiki/{number}" for number in numbers],
        "title": [f"Article {number}" for number in numbers],
        "text": [
            f"Article {number} is about a number. It follows {number - 1}.\n\nHistory\nIt is old." for number in numbers
        ],
    }
    buffer = io.BytesIO()
    parquet.write_table(pyarrow.table(columns), buffer)
    return buffer.getvalue()


def test_documented_commands_lead_to_a_tokenized_slice(tmp_path, monkeypatch, capsys):
    """Only the first four files are downloaded; they are tokenized with a vocabulary trained on them."""
    with fake_hub.serve() as hub:
        names = [f"20231101.en/train-{number:05}-of-00041.parquet" for number in range(6)]
        files = {name: _file(range(500 * number, 500 * number + 500)) for number, name in enumerate(names)}
        hub.add(
            "datasets/wikimedia/wikipedia", {"README.md": b"", "20231101.fr/train-00000-of-00017.parquet": b"", **files}
        )
        environment = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "0"}
        download = [str(Path(sys.executable).with_name("hf")), *_command("hf download")[1:]]
        done = subprocess.run(download, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    fetched = sorted(path.name for path in (tmp_path / "corpus").rglob("*.parquet"))
    assert fetched == [Path(name).name for name in names[:4]]
    monkeypatch.chdir(tmp_path)
    arguments = [*_command("python -m train.prepare")[3:], f"--config.data.cache_dir={tmp_path}/cache"]
    arguments[arguments.index("configs/albert_base.py")] = str(REPOSITORY / "configs" / "albert_base.py")
    assert cli.main("prepare", PRETRAIN_OPTIONS, prepare.run, arguments) == 0
    counts = re.findall(r"data: (\d[\d,]*) documents, (\d[\d,]*) sentences", capsys.readouterr().out)
    documents, sentences = (sum(int(pair[place].replace(",", "")) for pair in counts) for place in (0, 1))
    assert (documents, sentences) == (2000, 4 * 2000)


def test_documented_job_is_accepted(monkeypatch, capsys):
    monkeypatch.chdir(REPOSITORY)
    arguments = _command("python -m train.pretrain")[3:]
    assert cli.main("pretrain", PRETRAIN_OPTIONS, pretrain.run, [*arguments, "--print_config"]) == 0
    assert "parquet:corpus" in capsys.readouterr().out
