"""Sources on the command line: a run on a mixture of all kinds, and error messages."""

import gzip
import json
import shlex
import sys

import pytest

from tests.train.data.sources.tfds_files import write_set
from train import pretrain
from train.options import cli
from train.options.tables import PRETRAIN_OPTIONS

pyarrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")
pytest.importorskip("tensorflow_datasets")


@pytest.fixture(scope="module")
def corpora(tmp_path_factory):
    """A JSON lines file, a Parquet file, a text file and a tfds data set of generated articles."""
    root = tmp_path_factory.mktemp("corpora")

    def texts(kind):
        return [
            " ".join(f"The {kind} of {number} met {number + line}. They talked." for line in range(9))
            for number in range(120)
        ]

    records = "\n".join(json.dumps({"body": text}) for text in texts("king"))
    (root / "a.jsonl.gz").write_bytes(gzip.compress(records.encode()))
    parquet.write_table(pyarrow.table({"body": texts("queen")}), root / "b.parquet")
    (root / "c.txt").write_text("\n\n".join(texts("jack")))
    import tensorflow_datasets as tfds

    features = tfds.features.FeaturesDict({"body": tfds.features.Text()})
    write_set(root / "sets", [{"body": text} for text in texts("fool")], features)
    return root


# Few steps: the tests are about reading the data.
SHORT = (
    *("plot=false", "mesh.data=1", "execution.unroll=1", "total_steps=2", "log_every_steps=1"),
    *("eval_every_steps=2", "checkpoint_every_steps=2", "data.max_eval_rows=16"),
)


def run(work, *overrides):
    argv = ["--config", "configs/albert_base.py:smoke", "--workdir", str(work)]
    argv += [f"--config.{override}" for override in (*SHORT, *overrides)]
    return cli.main("pretrain", PRETRAIN_OPTIONS, pretrain.run, argv)


def test_pretrain_runs_on_a_mixture_of_all_kinds(repository, corpora, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(repository)
    mixture = (
        (f"text:{corpora}/*.jsonl.gz", 0.3),
        (f"parquet:{corpora}/*.parquet", 0.3),
        ("tfds:toy/en:train[:50%]", 0.2),
        (f"text:{corpora}/c.txt", 0.2),
    )
    overrides = [
        f"data.mixture={mixture!r}",
        "data.text_column=body",
        f"data.tfds_dir={corpora}/sets",
        "data.eval_fraction=0.1",
    ]
    assert run(tmp_path / "work", *overrides) == 0
    output = capsys.readouterr()
    assert "Tokenizing data.mixture (train split)" in output.out + output.err
    assert "grammar's floor" not in output.out
    (more,) = [line for line in output.out.splitlines() if "--extend" in line]
    assert f"--config.data.mixture={mixture!r}" in shlex.split(more, comments=True)
    assert json.loads((tmp_path / "work" / "config.json").read_text())["config"]["data"]["mixture"]
    assert run(tmp_path / "work", *overrides) == 0
    assert "complete" in capsys.readouterr().out
    assert run(tmp_path / "work", *overrides, "data.text_column=text") == 2
    assert "data.text_column" in capsys.readouterr().err


MISTAKES = {
    "misspelled source": (["data.source=parquett:{root}/b.parquet"], ["'parquett:", "'parquet:GLOB'"]),
    "misspelled option": (["data.text_colum=body"], ["unknown option", "config.data.text_column"]),
    "missing file": (["data.source=parquet:{root}/*.arrow"], ["No file matches 'parquet:{root}/*.arrow'"]),
    "missing column, parquet": (["data.source=parquet:{root}/b.parquet"], ["{root}/b.parquet", "'text'", "has: body"]),
    "missing column, jsonl": (["data.source=text:{root}/a.jsonl.gz"], ["a.jsonl.gz, line 1", "'text'", "has: body"]),
    "missing column, tfds": (["data.source=tfds:toy/en"], ["tfds:toy/en", "'text'", "has: body"]),
    "missing set": (["data.source=tfds:lm1b"], ["tfds build lm1b --file_format=array_record --data_dir={root}/sets"]),
    "missing split": (["data.source=tfds:toy/en:test"], ["no split 'test'", "has: train"]),
    "no tuple": (["data.mixture=text:{root}/c.txt"], ["data.mixture=text:{root}/c.txt", "a tuple"]),
    "no weight": (["data.mixture=('text:{root}/c.txt',)"], ["'text:{root}/c.txt'", "a source and a positive weight"]),
    "nothing held out": (["data.source=text:{root}/c.txt", "data.eval_fraction=0"], ["data.eval_source"]),
    "common text": (
        ["data.source=text:{root}/*.txt", "data.eval_source=text:{root}/c.txt"],
        ["read by both", "{root}/c.txt"],
    ),
}


@pytest.mark.parametrize(("overrides", "parts"), MISTAKES.values(), ids=MISTAKES)
def test_pretrain_errors_name_cause_and_cure(repository, corpora, tmp_path, monkeypatch, capsys, overrides, parts):
    monkeypatch.chdir(repository)
    overrides = [override.format(root=corpora) for override in overrides]
    assert run(tmp_path / "work", f"data.tfds_dir={corpora}/sets", *overrides) == 2
    message = capsys.readouterr().err
    for part in parts:
        assert part.format(root=corpora) in message
    assert "Traceback" not in message
    assert not (tmp_path / "work" / "model").exists()


@pytest.mark.parametrize(
    ("source", "module", "extra"),
    [("parquet:{root}/b.parquet", "pyarrow", "parquet"), ("tfds:toy/en", "tensorflow_datasets", "tfds")],
)
def test_pretrain_names_a_missing_package(repository, corpora, tmp_path, monkeypatch, capsys, source, module, extra):
    monkeypatch.chdir(repository)
    monkeypatch.setitem(sys.modules, module, None)
    assert run(tmp_path / "work", f"data.source={source.format(root=corpora)}", "data.text_column=body") == 2
    assert f"pip install -e '.[{extra}]'" in capsys.readouterr().err
