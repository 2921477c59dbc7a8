"""The main job as people run it: from the command line, to its end, killed, misused."""

import json
import random
import re
import signal

import jax
import numpy as np
import pytest

import flax_lite as fl
from tests.train.commands import Command, series
from train import cli, pretrain
from train.leaves import PRETRAIN_LEAVES
from train.metrics import read_metrics

CONFIG = "configs/albert_base.py:smoke"
COMMAND = Command("pretrain", CONFIG)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A smoke run from the command line that nothing disturbed, with a row for every step."""
    workdir = tmp_path_factory.mktemp("finished") / "work"
    done = COMMAND.run(workdir, "log_every_steps=1")
    assert done.returncode == 0, done.stderr
    return workdir, done


def test_pretrain_writes_the_work_directory(finished):
    workdir, _ = finished
    rows = read_metrics(workdir / "metrics.jsonl")
    assert [row["step"] for row in rows if row["split"] == "train"] == list(range(1, 9))
    assert [row["step"] for row in rows if row["split"] == "eval"] == [4, 8]
    names = {"loss", "mlm_loss", "mlm_accuracy", "sop_loss", "sop_accuracy"}
    assert all(names <= row.keys() for row in rows)
    assert {"learning_rate", "grad_norm", "tokens_per_second"} <= rows[0].keys()
    assert json.loads((workdir / "summary.json").read_text())["status"] == "finished"
    for name in ("config.json", "loss.png", "accuracy.png"):
        assert (workdir / name).stat().st_size > 0
    files = {path.name for path in (workdir / "model").iterdir()}
    assert {"config.json", "model.safetensors", "flax_model.msgpack", "tokenizer.json"} <= files


def test_pretrain_tells_a_person_what_happens(finished):
    _, done = finished
    assert "cpu" in done.stdout.splitlines()[0].lower()
    for expected in (
        "parameters",
        "compiling the training step",
        "held out, step 8",
        "unigram entropy",
        "next, to paste",
    ):
        assert expected in done.stdout
    examples = done.stdout[done.stdout.index("five held-out sentences") :].splitlines()[1:11]
    assert [bool(re.search(r"\[\S[^\]]*\]", line)) for line in examples] == [True, False] * 5
    assert all(re.fullmatch(r" {6}\S.* \d+%(, \S.* \d+%){2}", line) for line in examples[1::2])


def test_pretrain_model_scores_as_the_job_said(finished):
    """The directory holds the model that was evaluated, in both formats, with its tokenizer."""
    workdir, _ = finished
    model = fl.PreTraining.from_pretrained(workdir / "model")
    tokenizer = fl.load_tokenizer(workdir / "model")
    assert model.config.vocab_size == tokenizer.vocab_size
    twin = workdir.parent / "twin"
    twin.mkdir()
    for path in (workdir / "model").iterdir():
        if path.name != "model.safetensors":
            (twin / path.name).write_bytes(path.read_bytes())
    same = fl.PreTraining.from_pretrained(twin)
    jax.tree.map(np.testing.assert_array_equal, fl.get_params(same), fl.get_params(model))


def test_pretrain_work_directory_is_a_source(finished):
    """WORKDIR is its newest checkpoint, which is what model/ holds here; the step before is another model."""
    workdir, _ = finished
    model = fl.PreTraining.from_pretrained(workdir / "model")
    newest, earlier = (fl.PreTraining.from_pretrained(f"{workdir}{suffix}") for suffix in ("", "@4"))
    assert newest.config == model.config
    jax.tree.map(np.testing.assert_array_equal, fl.get_params(newest), fl.get_params(model))
    words = (fl.get_params(each)["encoder"]["embeddings"]["word"]["embedding"] for each in (newest, earlier))
    assert not np.array_equal(*words)
    assert fl.load_tokenizer(workdir).fingerprint == fl.load_tokenizer(workdir / "model").fingerprint


def test_pretrain_again_says_it_is_complete(finished):
    workdir, _ = finished
    before = (workdir / "metrics.jsonl").read_bytes()
    again = COMMAND.run(workdir, "log_every_steps=1")
    assert again.returncode == 0
    assert "complete" in again.stdout
    assert (workdir / "metrics.jsonl").read_bytes() == before


def test_pretrain_refuses_another_identity(finished):
    workdir, _ = finished
    before = {path: path.read_bytes() for path in workdir.rglob("*") if path.is_file() and path.name != "lock"}
    changed = COMMAND.run(workdir, "optimizer.learning_rate=0.5")
    assert changed.returncode == 2
    assert "optimizer.learning_rate" in changed.stderr
    assert "--workdir" in changed.stderr
    assert before == {path: path.read_bytes() for path in workdir.rglob("*") if path.is_file() and path.name != "lock"}


@pytest.mark.parametrize("seed", range(2))
def test_pretrain_killed_and_resumed_is_bit_equal(tmp_path, finished, seed):
    """Dropout and masks are on: the losses are equal only if every draw depends on the step alone."""
    delay_seconds = random.Random(seed).uniform(0, 0.5)
    COMMAND.kill_and_resume(tmp_path / "work", series(finished[0]), delay_seconds, signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 120))
def test_pretrain_killed_at_any_moment_is_bit_equal(tmp_path, finished, seed):
    delay_seconds = random.Random(seed).uniform(0, 2)
    COMMAND.kill_and_resume(tmp_path / "work", series(finished[0]), delay_seconds, signal.SIGKILL)


def test_pretrain_terminated_saves_and_exits_75(tmp_path, finished):
    status = COMMAND.kill_and_resume(tmp_path / "work", series(finished[0]), 0.0, signal.SIGTERM)
    # 0 where the run was over before the signal came.
    assert status in (75, 0)


def test_pretrain_on_eight_devices_and_with_workers_agrees(tmp_path, finished):
    """Masks and dropout are drawn for the global batch, so neither the mesh nor the processes that make rows matter."""
    options = ("log_every_steps=1", "mesh.data=4", "mesh.fsdp=2", "data.workers=2")
    other = COMMAND.run(tmp_path / "work", *options, devices=8)
    assert other.returncode == 0, other.stderr
    for expected, got in zip(series(finished[0]), series(tmp_path / "work"), strict=True):
        # 1e-4 is the bar between layouts over 20 smoke steps.
        np.testing.assert_allclose(got["loss"], expected["loss"], rtol=1e-4)


MISTAKES = {
    "misspelt key": (["--config.optimizer.learing_rate=1"], "optimizer.learning_rate"),
    "wrong type": (["--config.batch_size=many"], "batch_size"),
    "missing files": (["--config.data.source=text:/nowhere/*.txt"], "/nowhere/*.txt"),
    "unknown source": (["--config.data.source=ftp:somewhere"], "builtin"),
    "missing tokenizer": (["--config.tokenizer=/nowhere/spiece.model"], "/nowhere/spiece.model"),
    "misspelt tokenizer": (["--config.tokenizer=train:unigramm:100"], "unigram"),
    "too long": (["--config.data.sequence_length=1024"], "512"),
    "batch not divisible": (["--config.batch_size=15"], "15"),
    "accumulation not divisible": (["--config.accumulation_steps=3"], "3"),
    "unknown preset": (["--config.model.preset=albert-huge"], "albert-base-v2"),
    "heads do not divide": (["--config.model.num_attention_heads=5"], "5"),
    "warm-up too long": (["--config.optimizer.warmup_steps=1000"], "1000"),
    "missing model": (["--config.init_from=/nowhere"], "/nowhere"),
    "more masks than tokens": (["--config.data.max_predictions=100"], "100"),
    "no architecture": (["--config.model.preset=none"], "model.preset, or init_from"),
    "no tokenizer": (["--config.tokenizer=none"], "tokenizer is missing"),
    "no sentence task": (
        [
            "--config.model.preset=distilbert-base-uncased",
            "--config.model.embedding_size=none",
            "--config.model.hidden_act=none",
        ],
        "data.rows=packed",
    ),
    "foreign option": (["--config.model.preset=bert-base-uncased"], "does not take model.embedding_size"),
}


@pytest.mark.parametrize(("arguments", "expected"), MISTAKES.values(), ids=MISTAKES)
def test_pretrain_explains_a_mistake(repository, tmp_path, monkeypatch, capsys, arguments, expected):
    """One message, status 2, and nothing but an empty run's files is left behind."""
    monkeypatch.chdir(repository)
    argv = ["--config", CONFIG, "--workdir", str(tmp_path / "work"), *arguments]
    assert cli.main("pretrain", PRETRAIN_LEAVES, pretrain.run, argv) == 2
    message = capsys.readouterr().err
    assert expected in message
    assert "Traceback" not in message
    assert not (tmp_path / "work" / "model").exists()


def test_pretrain_explains_an_empty_corpus(repository, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(repository)
    (tmp_path / "empty.txt").write_text("\n\n")
    source = f"--config.data.source=text:{tmp_path}/*.txt"
    argv = ["--config", CONFIG, "--workdir", str(tmp_path / "work"), source, "--config.data.eval_fraction=0.5"]
    assert cli.main("pretrain", PRETRAIN_LEAVES, pretrain.run, argv) == 2
    assert "holds no document" in capsys.readouterr().err


def test_pretrain_adapts_a_model_with_its_own_architecture_and_tokenizer(
    repository, tmp_path, monkeypatch, capsys, finished
):
    """Only the checkpoint is named: sizes, tokenizer and words come from it, the sentence head is left behind."""
    monkeypatch.chdir(repository)
    model = finished[0] / "model"
    changes = ("total_steps=2", "batch_size=8", "data.source=builtin", "data.sequence_length=64", "mesh.data=1")
    changes += ("data.builtin_documents=50", "data.max_predictions=10", "data.max_eval_rows=16", "data.workers=0")
    changes += (f"init_from={model}", "optimizer.warmup_steps=1")
    argv = ["--config", "configs/adapt.py", "--workdir", str(tmp_path / "work")]
    assert cli.main("pretrain", PRETRAIN_LEAVES, pretrain.run, [*argv, *(f"--config.{item}" for item in changes)]) == 0
    adapted, source = fl.MaskedLM.from_pretrained(tmp_path / "work" / "model"), fl.MaskedLM.from_pretrained(model)
    assert adapted.config.replace(architectures=()) == source.config.replace(architectures=())
    assert fl.load_tokenizer(tmp_path / "work").fingerprint == fl.load_tokenizer(model).fingerprint
    rows = read_metrics(tmp_path / "work" / "metrics.jsonl")
    scratch = read_metrics(finished[0] / "metrics.jsonl")
    assert rows[0]["mlm_loss"] < scratch[0]["mlm_loss"]
    assert not any("sop" in name for row in rows for name in row)
    assert "sentence order" not in capsys.readouterr().out


def test_pretrain_starts_from_a_model(repository, tmp_path, monkeypatch, capsys, finished):
    """The warm start of the paper's deep networks: a deeper ALBERT has the same parameters as a shallower one."""
    monkeypatch.chdir(repository)
    model = finished[0] / "model"
    overrides = [
        f"init_from={model}",
        f"tokenizer={model}",
        "model.num_hidden_layers=3",
        "total_steps=2",
        "mesh.data=1",
    ]
    argv = ["--config", CONFIG, "--workdir", str(tmp_path / "work"), *(f"--config.{item}" for item in overrides)]
    assert cli.main("pretrain", PRETRAIN_LEAVES, pretrain.run, argv) == 0
    first = read_metrics(tmp_path / "work" / "metrics.jsonl")[0]
    scratch = read_metrics(finished[0] / "metrics.jsonl")[0]
    assert first["mlm_loss"] < scratch["mlm_loss"]
