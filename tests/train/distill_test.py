"""Distillation as people run it: from the command line, to its end, killed, with the wrong teacher, misused."""

import json
import random
import shutil
import signal

import jax
import numpy as np
import pytest

import flax_lite as fl
from flax_lite.checkpoints.sources import open_source
from tests.train.commands import Command, series
from train import cli, distill, prepare, show
from train.leaves import DISTILL_LEAVES, JOB_LEAVES
from train.metrics import read_metrics

CONFIG = "configs/distilbert_tiny.py:smoke"
TEACHER = Command("pretrain", "configs/bert_tiny.py:smoke", ("plot=false",))


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    """The work directory of a BERT of four layers."""
    workdir = tmp_path_factory.mktemp("teacher") / "work"
    done = TEACHER.run(workdir, "model.num_hidden_layers=4")
    assert done.returncode == 0, done.stderr
    return workdir


@pytest.fixture(scope="module")
def student(teacher):
    """The command: dropout on, masks drawn over the batch in the step, everything as DistilBERT's."""
    batch = ("data.masking=batch", "data.mask_smoothing=0.7", "model.hidden_dropout_prob=0.1")
    return Command("distill", CONFIG, (f"teacher={teacher}", "tokenizer=none", *batch))


@pytest.fixture(scope="module")
def finished(student, tmp_path_factory):
    """A run that nothing disturbed, with a row for every step."""
    workdir = tmp_path_factory.mktemp("finished") / "work"
    done = student.run(workdir, "log_every_steps=1")
    assert done.returncode == 0, done.stderr
    return workdir, done


def main(monkeypatch, repository, workdir, *overrides, config=CONFIG):
    """The job in this process; its exit status."""
    monkeypatch.chdir(repository)
    argv = ["--config", config, "--workdir", str(workdir), *(f"--config.{item}" for item in overrides)]
    return cli.main("distill", DISTILL_LEAVES, distill.run, [*argv, "--config.plot=false", "--config.mesh.data=1"])


def test_distill_writes_the_work_directory(finished):
    workdir, _ = finished
    rows = read_metrics(workdir / "metrics.jsonl")
    assert [row["step"] for row in rows if row["split"] == "train"] == list(range(1, 9))
    names = {"loss", "soft_cross_entropy_loss", "mlm_loss", "mlm_accuracy", "cosine_loss"}
    assert all(names <= row.keys() for row in rows)
    for row in rows:
        total = 5 * row["soft_cross_entropy_loss"] + 2 * row["mlm_loss"] + row["cosine_loss"]
        assert row["loss"] == pytest.approx(total, rel=1e-5)
    files = {path.name for path in (workdir / "model").iterdir()}
    assert {"config.json", "model.safetensors", "flax_model.msgpack", "tokenizer.json"} <= files


def test_distill_tells_a_person_what_happens(finished, teacher):
    _, done = finished
    for expected in (
        f"teacher: {teacher}: bert, 4 layers",
        "student: distilbert, 2 layers",
        "losses: 5 soft_cross_entropy, 2 mlm, 1 cosine",
        "held out, step 8",
        "teacher's own:",
        "of its accuracy",
        "five held-out sentences",
        "next, to paste",
    ):
        assert expected in done.stdout


def test_distill_checkpoint_holds_the_student_alone(finished):
    """No array of it has the teacher's depth, and its parameters are those of the model that was delivered."""
    workdir, _ = finished
    model = fl.MaskedLM.from_pretrained(workdir / "model")
    newest = fl.MaskedLM.from_pretrained(str(workdir))
    assert model.config.num_hidden_layers == 2
    jax.tree.map(np.testing.assert_array_equal, fl.get_params(newest), fl.get_params(model))
    meta = json.loads((workdir / "checkpoints" / "8" / "meta" / "metadata").read_text())
    params = {name for name in meta["tree"] if name.startswith("params/")}
    assert len(params) == len(jax.tree.leaves(fl.get_params(model)))
    assert not any("[4," in form for form in meta["tree"].values())


def test_distill_without_dropout_starts_where_its_layers_were(teacher, tmp_path, monkeypatch, repository):
    """The first step's loss is that of the picked layers: a random student is farther from the teacher."""
    losses = []
    for init in ("teacher", "random"):
        work = tmp_path / init
        options = (f"teacher={teacher}", "tokenizer=none", f"student.init={init}", "total_steps=2", "log_every_steps=1")
        assert main(monkeypatch, repository, work, *options) == 0
        losses.append(read_metrics(work / "metrics.jsonl")[0])
    for name in ("cosine_loss", "soft_cross_entropy_loss"):
        assert losses[0][name] < 0.9 * losses[1][name]


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 11))])
def test_distill_killed_and_resumed_is_bit_equal(student, tmp_path, finished, seed):
    """Dropout and masks are on: the losses are equal only if every draw depends on the step alone."""
    delay_seconds = random.Random(seed).uniform(0, 0.3)
    student.kill_and_resume(tmp_path / "work", series(finished[0]), delay_seconds, signal.SIGKILL)


def test_distill_on_eight_devices_agrees(student, tmp_path, finished):
    """The teacher's parameters are placed like the student's; masks and dropout are drawn for the global batch."""
    other = student.run(tmp_path / "work", "log_every_steps=1", "mesh.data=4", "mesh.fsdp=2", devices=8)
    assert other.returncode == 0, other.stderr
    for expected, got in zip(series(finished[0]), series(tmp_path / "work"), strict=True):
        # 1e-4 is the bar between layouts over 20 smoke steps.
        np.testing.assert_allclose(got["loss"], expected["loss"], rtol=1e-4)


def test_distill_refuses_another_teacher(student, teacher, tmp_path, finished):
    """Wherever the same parameters lie they are the same teacher; others are refused, and nothing is overwritten."""
    workdir = tmp_path / "work"
    shutil.copytree(finished[0], workdir)
    same = student.run(workdir, "log_every_steps=1", f"teacher={teacher / 'model'}")
    assert same.returncode == 0, same.stderr
    assert "complete" in same.stdout
    other = student.run(workdir, "log_every_steps=1", f"teacher={teacher}@4", "total_steps=12")
    assert other.returncode == 2
    assert "total_steps" in other.stderr
    longer = student.run(workdir, "log_every_steps=1", f"teacher={teacher}@4", "total_steps=12", flags=["--extend"])
    assert longer.returncode == 2
    assert "  teacher: " in longer.stderr
    assert "Traceback" not in longer.stderr
    assert series(workdir) == series(finished[0])


MISTAKES = {
    "no teacher": (["teacher=none"], "whom to learn from"),
    "missing teacher": (["teacher=/nowhere"], "teacher=/nowhere"),
    "no head": (["teacher=ENCODER"], "has no masked-LM head"),
    "another vocabulary": (["tokenizer=train:wordpiece:500"], "another vocabulary"),
    "other widths": (["model.hidden_size=16", "student.init=random"], "cosine compares models of the same hidden_size"),
    "no projection": (
        ["model.hidden_size=16", "student.init=random", "losses.cosine=0", "losses.hidden_mse=1"],
        "project the student's hidden states",
    ),
    "layers out of range": (["losses.hidden_mse=1", "distill.layer_map=((4,0),)"], "which have 4 and 2"),
    "malformed layers": (["losses.hidden_mse=1", "distill.layer_map=(1,2)"], "expected pairs"),
    "nothing to learn": (["losses.soft_cross_entropy=0", "losses.mlm=0", "losses.cosine=0"], "a weight above 0"),
    "layers to begin with out of range": (["student.layers=(0,4)"], "from 0 to 3"),
    "layers that are not taken": (["student.layers=(0,1)", "student.init=random"], "student.init=teacher alone"),
    "another width to begin with": (["model.hidden_size=16", "losses.cosine=0"], "student.init=random"),
    "trimmed and begun": (["init_from=TEACHER", "trim_vocabulary=true"], "give one of the two"),
    "rows longer than the teacher": (["data.sequence_length=600", "model.max_position_embeddings=600"], "positions of"),
    "no temperature": (["distill.temperature=0"], "temperature"),
}


@pytest.fixture(scope="module")
def encoder(teacher, tmp_path_factory):
    """The teacher without any head."""
    directory = tmp_path_factory.mktemp("encoder") / "model"
    fl.Encoder.from_pretrained(teacher).save_pretrained(directory)
    fl.load_tokenizer(teacher).save(directory)
    return directory


@pytest.mark.parametrize(("overrides", "expected"), MISTAKES.values(), ids=MISTAKES)
def test_distill_explains_a_mistake(teacher, encoder, repository, tmp_path, monkeypatch, capsys, overrides, expected):
    """One message, status 2."""
    overrides = [item.replace("ENCODER", str(encoder)).replace("TEACHER", str(teacher)) for item in overrides]
    options = [f"teacher={teacher}", "tokenizer=none", *overrides]
    assert main(monkeypatch, repository, tmp_path / "work", *options) == 2
    message = capsys.readouterr().err
    assert expected in message
    assert "Traceback" not in message
    assert not (tmp_path / "work" / "model").exists()


def test_distill_from_an_encoder_makes_an_encoder(encoder, repository, tmp_path, monkeypatch, capsys):
    """Without a loss on words neither needs a head; the projection is left behind, in checkpoints too."""
    changes = ["tokenizer=none", f"teacher={encoder}", "model.hidden_size=16", "student.init=random"]
    changes += ["distill.project=true", "distill.layer_map=((1,0),(3,1))"]
    assert main(monkeypatch, repository, tmp_path / "work", *changes, config="configs/sentence_student.py:smoke") == 0
    assert "initialised" not in capsys.readouterr().err
    assert "BertModel" in open_source(tmp_path / "work" / "model").config.architectures
    for source in (tmp_path / "work" / "model", tmp_path / "work"):
        assert fl.Encoder.from_pretrained(source).config.hidden_size == 16
    rows = read_metrics(tmp_path / "work" / "metrics.jsonl")
    assert {"sentence_mse_loss", "hidden_mse_loss"} <= rows[0].keys()
    assert "mlm_loss" not in rows[0]


def test_distill_begins_with_a_checkpoint(finished, teacher, repository, tmp_path, monkeypatch):
    """init_from comes before the teacher's layers: the first loss is that of the checkpoint."""
    changes = [f"teacher={teacher}", "tokenizer=none", f"init_from={finished[0]}", "model.preset=none"]
    changes += ["total_steps=2", "log_every_steps=1", "model.num_hidden_layers=none", "model.hidden_act=none"]
    for name in ("hidden_size", "num_attention_heads", "intermediate_size"):
        changes.append(f"model.{name}=none")
    assert main(monkeypatch, repository, tmp_path / "work", *changes) == 0
    model = fl.MaskedLM.from_pretrained(tmp_path / "work" / "model")
    assert model.config.replace(extra={}) == fl.MaskedLM.from_pretrained(finished[0]).config.replace(
        extra={}, hidden_dropout_prob=model.config.hidden_dropout_prob
    )


def test_distill_trims_the_vocabulary(teacher, repository, tmp_path, monkeypatch, capsys):
    """Pieces that the training text does not use are left out of both models and of the tokenizer."""
    few = ["data.builtin_documents=20", "data.eval_fraction=0.0", "trim_vocabulary=true", "total_steps=2"]
    assert main(monkeypatch, repository, tmp_path / "work", f"teacher={teacher}", "tokenizer=none", *few) == 0
    assert "pieces are used by the training text" in capsys.readouterr().out
    whole, trimmed = fl.load_tokenizer(teacher), fl.load_tokenizer(tmp_path / "work" / "model")
    assert trimmed.vocab_size < whole.vocab_size
    assert fl.MaskedLM.from_pretrained(tmp_path / "work" / "model").config.vocab_size == trimmed.vocab_size


@pytest.mark.parametrize(("command", "expected"), [(prepare, "fingerprint"), (show, "speed:")])
def test_commands_on_data_take_a_config_of_distillation(
    command, expected, teacher, repository, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(repository)
    argv = ["--config", CONFIG, "--workdir", str(tmp_path / "work"), f"--config.teacher={teacher}"]
    assert cli.main("show", JOB_LEAVES, command.run, [*argv, "--config.tokenizer=none"]) == 0
    assert expected in capsys.readouterr().out


@pytest.mark.parametrize(("job", "config"), [("distill", "albert_tiny"), ("pretrain", "distilbert_tiny")])
def test_job_names_the_one_that_a_config_is_for(job, config, repository, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(repository)
    argv = ["--config", f"configs/{config}.py", "--workdir", str(tmp_path / "work")]
    assert cli.main(job, JOB_LEAVES[job], lambda request: None, argv) == 2
    other = {"distill": "pretrain", "pretrain": "distill"}[job]
    assert f"python -m train.{other} --config configs/{config}.py" in capsys.readouterr().err
