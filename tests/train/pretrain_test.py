"""Pretraining from the command line: finished, killed and resumed, with mistakes."""

import json
import re
import signal

import jax
import numpy as np
import pytest

import flax_lite as fl
from tests.train.commands import Command, series
from train.run.metrics import read_metrics

SMOKE = Command("pretrain", "configs/albert_base.py:smoke")


def same(one, other):
    jax.tree.map(np.testing.assert_array_equal, one, other)


@pytest.mark.compat
def test_pretrain_writes_the_work_directory(finished_pretrain):
    workdir = finished_pretrain.workdir
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


def test_pretrain_prints_device_model_and_results(finished_pretrain):
    printed = finished_pretrain.printed
    assert "cpu" in printed.splitlines()[0].lower()
    for expected in (
        "parameters",
        "compiling the training step",
        "held out, step 8",
        "unigram entropy",
        "next, to paste",
    ):
        assert expected in printed
    examples = printed[printed.index("five held-out sentences") :].splitlines()[1:11]
    assert [bool(re.search(r"\[\S[^\]]*\]", line)) for line in examples] == [True, False] * 5
    assert all(re.fullmatch(r" {6}\S.* \d+%(, \S.* \d+%){2}", line) for line in examples[1::2])


@pytest.mark.compat
def test_pretrain_model_is_the_newest_checkpoint_in_two_formats(finished_pretrain, tmp_path):
    """The work directory is a source too; its earlier checkpoint is another model."""
    workdir = finished_pretrain.workdir
    for path in (workdir / "model").iterdir():
        if path.name != "model.safetensors":
            (tmp_path / path.name).write_bytes(path.read_bytes())
    model, twin, newest, earlier = (
        fl.PreTraining.from_pretrained(source) for source in (workdir / "model", tmp_path, workdir, f"{workdir}@4")
    )
    same(fl.get_params(twin), fl.get_params(model))
    same(fl.get_params(newest), fl.get_params(model))
    assert newest.config == model.config
    words = (fl.get_params(each)["encoder"]["embeddings"]["word"]["embedding"] for each in (newest, earlier))
    assert not np.array_equal(*words)
    tokenizer = fl.load_tokenizer(workdir / "model")
    assert model.config.vocab_size == tokenizer.vocab_size
    assert fl.load_tokenizer(workdir).fingerprint == tokenizer.fingerprint


@pytest.mark.compat
def test_pretrain_again_reports_completion_and_refuses_other_fixed_options(finished_pretrain, tmp_path, capsys):
    command, workdir = finished_pretrain.command, finished_pretrain.copy(tmp_path / "work")

    def files():
        return {path: path.read_bytes() for path in workdir.rglob("*") if path.is_file() and path.name != "lock"}

    before = files()
    assert command.main(workdir, "optimizer.learning_rate=0.5") == 2
    message = capsys.readouterr().err
    assert "optimizer.learning_rate" in message
    assert "--workdir" in message
    assert files() == before
    assert command.main(workdir) == 0
    assert "complete" in capsys.readouterr().out
    assert (workdir / "metrics.jsonl").read_bytes() == before[workdir / "metrics.jsonl"]


@pytest.mark.compat
def test_pretrain_killed_and_terminated_is_bit_equal(finished_pretrain, tmp_path):
    """With dropout and masks, losses are equal only if every draw depends on the step alone.

    The number of workers does not matter: the second process has two.
    """
    command, workdir = finished_pretrain.command, tmp_path / "work"
    assert command.stop(workdir, signal.SIGKILL, "checkpoint_every_steps=1")[0] == -signal.SIGKILL
    status, errors = command.stop(workdir, signal.SIGTERM, "checkpoint_every_steps=1", "data.workers=2")
    assert status in (75, 0), errors  # 0 if the run was over before the signal
    assert status == 0 or "SIGTERM" in errors
    assert command.main(workdir, "checkpoint_every_steps=1") == 0
    assert series(workdir) == series(finished_pretrain.workdir)


@pytest.mark.slow  # forty processes; the quick test above covers one moment
@pytest.mark.parametrize("delay_seconds", np.random.default_rng(0).uniform(0, 2, 20).round(3))
def test_pretrain_killed_at_any_moment_is_bit_equal(finished_pretrain, tmp_path, delay_seconds):
    command, workdir = finished_pretrain.command, tmp_path / "work"
    command.stop(workdir, signal.SIGKILL, "checkpoint_every_steps=1", delay_seconds=delay_seconds)
    assert command.main(workdir, "checkpoint_every_steps=1") == 0
    assert series(workdir) == series(finished_pretrain.workdir)


MISTAKES = {
    "misspelled key": ("optimizer.learing_rate=1", "optimizer.learning_rate"),
    "wrong type": ("batch_size=many", "batch_size"),
    "missing files": ("data.source=text:/nowhere/*.txt", "/nowhere/*.txt"),
    "empty corpus": ("data.source=text:EMPTY data.eval_fraction=0.5", "holds no document"),
    "unknown source": ("data.source=ftp:somewhere", "builtin"),
    "missing tokenizer": ("tokenizer=/nowhere/spiece.model", "/nowhere/spiece.model"),
    "misspelled tokenizer": ("tokenizer=train:unigramm:100", "unigram"),
    "too long": ("data.sequence_length=1024", "512"),
    "batch not divisible": ("batch_size=15 mesh.data=-1", "15"),
    "accumulation not divisible": ("accumulation_steps=3", "3"),
    "unknown preset": ("model.preset=albert-huge", "albert-base-v2"),
    "heads do not divide": ("model.num_attention_heads=5", "5"),
    "warm-up too long": ("optimizer.warmup_steps=1000", "1000"),
    "missing model": ("init_from=/nowhere", "/nowhere"),
    "more masks than tokens": ("data.max_predictions=100", "100"),
    "no architecture": ("model.preset=none", "model.preset, or init_from"),
    "no tokenizer": ("tokenizer=none", "tokenizer is missing"),
    "no sentence task": (
        "model.preset=distilbert-base-uncased model.embedding_size=none model.hidden_act=none",
        "data.rows=packed",
    ),
    "foreign option": ("model.preset=bert-base-uncased", "does not take model.embedding_size"),
}


@pytest.mark.parametrize(("overrides", "expected"), MISTAKES.values(), ids=MISTAKES)
def test_pretrain_explains_a_mistake(tmp_path, capsys, overrides, expected):
    """One message, status 2, and no model."""
    (tmp_path / "empty.txt").write_text("\n\n")
    overrides = overrides.replace("EMPTY", str(tmp_path / "empty.txt")).split()
    assert SMOKE.main(tmp_path / "work", *overrides) == 2
    message = capsys.readouterr().err
    assert expected in message
    assert "Traceback" not in message
    assert not (tmp_path / "work" / "model").exists()


@pytest.mark.parametrize("job", ["pretrain", "prepare", "show"])
@pytest.mark.parametrize("spec", ["train:unigram:250", "train:wordpiece:600"])
def test_a_model_is_never_loaded_with_another_vocabulary(finished_pretrain, tmp_path, capsys, job, spec):
    """It is refused before the text is tokenized, even if its size fits the model's embeddings."""
    model = finished_pretrain.workdir / "model"
    command = Command(job, "configs/albert_base.py:smoke", (f"init_from={model}", f"tokenizer={spec}"))
    assert command.main(tmp_path / "work") == 2
    output, message = capsys.readouterr()
    assert f"init_from={model} has another vocabulary than tokenizer={spec}" in message
    assert "held-out data" not in output


def test_pretrain_adapts_a_model_with_its_own_architecture_and_tokenizer(finished_pretrain, tmp_path, built):
    """Sizes, tokenizer and masked-LM head come from the checkpoint; the sentence head is dropped."""
    model = finished_pretrain.workdir / "model"
    changes = (f"init_from={model}", "data.source=builtin", "data.builtin_documents=200", "data.sequence_length=64")
    changes += ("data.max_predictions=10", "data.max_eval_rows=16", "data.workers=0")
    job = built(Command("pretrain", "configs/adapt.py"), tmp_path / "work", *changes)
    source, params = fl.MaskedLM.from_pretrained(model), job.initial_params()
    same(params, fl.get_params(source))
    job.export(params, tmp_path, {})
    adapted = fl.MaskedLM.from_pretrained(tmp_path)
    assert adapted.config.replace(architectures=()) == source.config.replace(architectures=())
    for directory in (tmp_path, tmp_path / "work"):
        assert fl.load_tokenizer(directory).fingerprint == fl.load_tokenizer(model).fingerprint
    measured = jax.eval_shape(job.eval_step, params, next(iter(job.eval_batches())))
    assert "sums/mlm_loss" in measured
    assert not any("sop" in name for name in measured)


def test_pretrain_on_packed_rows_has_no_sentence_task(finished_teacher):
    assert "masked words:" in finished_teacher.printed
    assert "sentence order" not in finished_teacher.printed
    rows = read_metrics(finished_teacher.workdir / "metrics.jsonl")
    assert not any("sop" in name or "nsp" in name for row in rows for name in row)


def test_pretrain_starts_from_a_model(finished_pretrain, tmp_path, built):
    """A deeper ALBERT has the same parameters as a shallower one, the warm start of the paper's deep networks."""
    model = finished_pretrain.workdir / "model"
    changes = (f"init_from={model}", f"tokenizer={model}", "model.num_hidden_layers=3")
    job = built(finished_pretrain.command, tmp_path / "work", *changes)
    assert job.model["num_hidden_layers"] == 3
    same(job.initial_params(), fl.get_params(fl.PreTraining.from_pretrained(model)))
