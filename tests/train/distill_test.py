"""Distillation from the command line: finished, resumed, with the wrong teacher, with mistakes."""

import functools
import json

import jax
import numpy as np
import pytest

import flax_lite as fl
from flax_lite.checkpoints.sources.resolve import open_source
from tests.train.commands import Command, series, traced
from train.jobs import distillation
from train.jobs.teacher import open_teacher
from train.options import cli
from train.options.tables import JOB_OPTIONS
from train.run.metrics import read_metrics

SMOKE = Command("distill", "configs/distilbert_tiny.py:smoke", ("plot=false",))
# What the student takes from the model that init_from names.
_SIZES = ("preset", "hidden_act", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")


@pytest.fixture
def command(teacher):
    """The smoke command with the finished teacher."""
    return SMOKE._replace(overrides=(*SMOKE.overrides, f"teacher={teacher}", "tokenizer=none"))


def same(one, other):
    jax.tree.map(np.testing.assert_array_equal, one, other)


@pytest.mark.compat
def test_distill_writes_the_work_directory(finished_distill):
    workdir = finished_distill.workdir
    rows = read_metrics(workdir / "metrics.jsonl")
    assert [row["step"] for row in rows if row["split"] == "train"] == list(range(1, 9))
    names = {"loss", "soft_cross_entropy_loss", "mlm_loss", "mlm_accuracy", "cosine_loss"}
    assert all(names <= row.keys() for row in rows)
    for row in rows:
        total = 5 * row["soft_cross_entropy_loss"] + 2 * row["mlm_loss"] + row["cosine_loss"]
        assert row["loss"] == pytest.approx(total, rel=1e-5)
    files = {path.name for path in (workdir / "model").iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= files
    assert "flax_model.msgpack" not in files


def test_distill_prints_models_losses_and_results(finished_distill, teacher):
    for expected in (
        f"teacher: {teacher}: bert, 4 layers",
        "student: distilbert, 2 layers",
        "losses: 5 soft_cross_entropy, 2 mlm, 1 cosine",
        "held out, step 8",
        "teacher:",
        "the teacher's accuracy",
        "five held-out sentences",
        "next, to paste",
    ):
        assert expected in finished_distill.printed


def test_distill_checkpoint_has_only_the_student(finished_distill):
    """None of its arrays has the teacher's depth, and its parameters are those of the exported model."""
    workdir = finished_distill.workdir
    model = fl.MaskedLM.from_pretrained(workdir / "model")
    newest = fl.MaskedLM.from_pretrained(str(workdir))
    assert model.config.num_hidden_layers == 2
    same(fl.get_params(newest), fl.get_params(model))
    meta = json.loads((workdir / "checkpoints" / "8" / "meta" / "metadata").read_text())
    params = {name for name in meta["tree"] if name.startswith("params/")}
    assert len(params) == len(jax.tree.leaves(fl.get_params(model)))
    assert not any("[4," in form for form in meta["tree"].values())


def test_distill_starts_from_layers_of_the_teacher(command, teacher, tmp_path, built):
    """The first and last of four layers, and word embeddings; a random student gets nothing."""
    params = built(command, tmp_path / "work").initial_params()
    source = fl.get_params(fl.MaskedLM.from_pretrained(teacher))
    picked = jax.tree.map(lambda array: np.asarray(array)[[0, 3]], source["encoder"]["layers"])
    same(params["encoder"]["layers"], picked)
    same(params["encoder"]["embeddings"]["word"], source["encoder"]["embeddings"]["word"])
    assert built(command, tmp_path / "random", "student.init=random").initial_params is None


@pytest.mark.compat
def test_distill_resumed_is_bit_equal(finished_distill, tmp_path, capsys):
    """With dropout and masks, losses are equal only if every draw depends on the step alone."""
    workdir = finished_distill.copy(tmp_path / "work", last=4)
    assert finished_distill.command.main(workdir, "plot=false") == 0
    assert "continuing from the checkpoint of step 4" in capsys.readouterr().out
    assert series(workdir) == series(finished_distill.workdir)


def test_distill_refuses_another_teacher(finished_distill, teacher, tmp_path, capsys):
    """The same parameters at another path are the same teacher; others are refused, and nothing is overwritten."""
    command, workdir = finished_distill.command, finished_distill.copy(tmp_path / "work")
    assert command.main(workdir, f"teacher={teacher / 'model'}") == 0
    assert "complete" in capsys.readouterr().out
    longer = (f"teacher={teacher}@1", "total_steps=12")
    assert command.main(workdir, *longer) == 2
    assert "total_steps" in capsys.readouterr().err
    assert command.main(workdir, *longer, flags=["--extend"]) == 2
    message = capsys.readouterr().err
    assert "  teacher: " in message
    assert "Traceback" not in message
    assert series(workdir) == series(finished_distill.workdir)


MISTAKES = {
    "no teacher": ("teacher=none", "no teacher: give --config.teacher"),
    "missing teacher": ("teacher=/nowhere", "teacher=/nowhere"),
    "no head": ("teacher=ENCODER", "has no masked-LM head"),
    "another vocabulary": ("tokenizer=train:wordpiece:500", "another vocabulary"),
    "other widths": ("model.hidden_size=16 student.init=random", "cosine compares models of the same hidden_size"),
    "no projection": (
        "model.hidden_size=16 student.init=random losses.cosine=0 losses.hidden_mse=1",
        "project the student's hidden states",
    ),
    "layers out of range": ("losses.hidden_mse=1 distill.layer_map=((4,0),)", "which have 4 and 2"),
    "malformed layers": ("losses.hidden_mse=1 distill.layer_map=(1,2)", "expected pairs"),
    "nothing to learn": ("losses.soft_cross_entropy=0 losses.mlm=0 losses.cosine=0", "a weight above 0"),
    "initial layers out of range": ("student.layers=(0,4)", "from 0 to 3"),
    "layers that are not taken": ("student.layers=(0,1) student.init=random", "it needs student.init=teacher"),
    "another initial width": ("model.hidden_size=16 losses.cosine=0", "student.init=random"),
    "trimmed and init_from": ("init_from=TEACHER trim_vocabulary=true", "give one of the two"),
    "rows longer than the teacher": ("data.sequence_length=600 model.max_position_embeddings=600", "positions of"),
    "no temperature": ("distill.temperature=0", "temperature"),
}


@pytest.fixture(scope="session")
def encoder(once, teacher):
    """The teacher without a head."""

    def make(directory):
        fl.Encoder.from_pretrained(teacher).save_pretrained(directory)
        fl.load_tokenizer(teacher).save(directory)

    return once("encoder", make)


# Loaded once for all mistakes.
_opened = functools.cache(open_teacher)


@pytest.mark.parametrize(("overrides", "expected"), MISTAKES.values(), ids=MISTAKES)
def test_distill_explains_a_mistake(command, teacher, encoder, tmp_path, monkeypatch, capsys, overrides, expected):
    """One message, status 2."""
    monkeypatch.setattr(distillation, "open_teacher", _opened)
    overrides = overrides.replace("ENCODER", str(encoder)).replace("TEACHER", str(teacher)).split()
    assert command.main(tmp_path / "work", *overrides) == 2
    message = capsys.readouterr().err
    assert expected in message
    assert "Traceback" not in message
    assert not (tmp_path / "work" / "model").exists()


def test_distill_from_an_encoder_makes_an_encoder(encoder, tmp_path, capsys):
    """Without losses on predictions no head is needed; loading the model or a checkpoint omits the projection."""
    changes = ("tokenizer=none", f"teacher={encoder}", "model.hidden_size=16", "student.init=random", "plot=false")
    changes += ("distill.project=true", "distill.layer_map=((1,0),(3,1))", "execution.unroll=1")
    changes += ("total_steps=2", "optimizer.warmup_steps=1", "eval_every_steps=2")
    workdir = tmp_path / "work"
    assert Command("distill", "configs/sentence_student.py:smoke", changes).main(workdir) == 0
    assert "initialized" not in capsys.readouterr().err
    assert "BertModel" in open_source(workdir / "model").config.architectures
    for source in (workdir / "model", workdir):
        assert fl.Encoder.from_pretrained(source).config.hidden_size == 16
    rows = read_metrics(workdir / "metrics.jsonl")
    assert {"sentence_mse_loss", "hidden_mse_loss"} <= rows[0].keys()
    assert "mlm_loss" not in rows[0]


def test_distill_starts_from_a_checkpoint(finished_distill, command, tmp_path, built):
    """init_from has precedence over the teacher's layers, and its architecture is used."""
    changes = (f"init_from={finished_distill.workdir}", *(f"model.{name}=none" for name in _SIZES))
    job, source = built(command, tmp_path / "work", *changes), fl.MaskedLM.from_pretrained(finished_distill.workdir)
    params = job.initial_params()
    same(params, fl.get_params(source))
    job.export(params, tmp_path, {})
    model = fl.MaskedLM.from_pretrained(tmp_path)
    assert model.config.replace(extra={}) == source.config.replace(
        extra={}, hidden_dropout_prob=model.config.hidden_dropout_prob
    )


def test_distill_trims_the_vocabulary(command, teacher, tmp_path, built, capsys):
    """Pieces that the training text does not use are removed from both models and the tokenizer."""
    few = ("data.builtin_documents=20", "data.eval_fraction=0.0", "trim_vocabulary=true")
    job = built(command, tmp_path / "work", *few)
    assert "pieces are used by the training text" in capsys.readouterr().out
    whole, trimmed = fl.load_tokenizer(teacher), fl.load_tokenizer(tmp_path / "work")
    assert trimmed.vocab_size < whole.vocab_size
    job.export(job.initial_params(), tmp_path, {})
    assert fl.load_tokenizer(tmp_path).fingerprint == trimmed.fingerprint
    assert fl.MaskedLM.from_pretrained(tmp_path).config.vocab_size == trimmed.vocab_size
    assert next(iter(job.train_batches(0)))["input_ids"].max() < trimmed.vocab_size
    assert traced(job)["soft_cross_entropy_loss"].shape == ()  # the teacher is trimmed too


@pytest.mark.parametrize(("job", "config"), [("distill", "albert_tiny"), ("pretrain", "distilbert_tiny")])
def test_job_refuses_a_config_of_another_job(job, config, repository, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(repository)
    argv = ["--config", f"configs/{config}.py", "--workdir", str(tmp_path / "work")]
    assert cli.main(job, JOB_OPTIONS[job], lambda request: None, argv) == 2
    other = {"distill": "pretrain", "pretrain": "distill"}[job]
    assert f"python -m train.{other} --config configs/{config}.py" in capsys.readouterr().err
