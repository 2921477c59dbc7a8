"""The fine-tuning job: from a table to a scored model, killed and resumed, on several devices, and what it refuses."""

import dataclasses
import fcntl
import json
import signal
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import config_dict

import flax_lite as fl
from flax_lite.beam_answers import BeamQuestionAnswering
from tests.conftest import REPOSITORY
from tests.train.commands import Command, series
from train import cli, finetune, finetuning, finetuning_report, schema
from train.config_files import load_config
from train.metrics import read_metrics
from train.task_leaves import FINETUNE_LEAVES

GOOD = ["bright", "warm", "gentle", "kind", "sunny", "calm"]
BAD = ["dark", "cold", "harsh", "cruel", "stormy", "loud"]
FILLERS = ["day", "house", "road", "river", "garden", "window", "morning", "evening"]
# What a model to start from brings with it.
SIZES = ("preset", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
DROPOUTS = ("hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout_prob")


def write_table(folder, count, seed=0, header="text\tlabel"):
    """Texts of fillers around one word that decides."""
    draw = np.random.default_rng(seed)
    lines = [header]
    for number in range(count):
        words = [*draw.choice(FILLERS, draw.integers(2, 20)), draw.choice((GOOD, BAD)[number % 2])]
        lines.append(f"{' '.join(draw.permutation(words))}\t{('good', 'bad')[number % 2]}")
    folder.mkdir(exist_ok=True)
    (folder / "train.tsv").write_text("\n".join(lines[: count + 1]) + "\n")
    (folder / "dev.tsv").write_text("\n".join([header, *lines[-40:]]) + "\n")
    return f"files:{folder}"


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return write_table(tmp_path_factory.mktemp("table") / "data", 200)


@pytest.fixture(scope="module")
def command(table):
    return Command("finetune", "configs/classify.py:smoke", overrides(table))


def overrides(table, *more):
    fixed = ("data.max_train_examples=none", "data.max_eval_examples=none", "total_steps=60", "evaluations=3")
    fixed = (*fixed, "model.num_hidden_layers=1", "model.initializer_range=0.1", "optimizer.learning_rate=0.01")
    return (f"data.source={table}", *fixed, "plot=false", *more)


def run(workdir, table, *more, config="configs/classify.py:smoke", monkeypatch=None):
    options = [f"--config.{each}" for each in overrides(table, "mesh.data=1", *more)]
    argv = ["--config", str(REPOSITORY / config), "--workdir", str(workdir), *options]
    loaded = load_config(str(REPOSITORY / config))
    return cli.main("finetune", FINETUNE_LEAVES[loaded.table], finetune.run_request, argv)


@pytest.fixture(scope="module")
def whole(tmp_path_factory, command):
    """A run that nothing disturbs."""
    work = tmp_path_factory.mktemp("whole") / "work"
    result = command.run(work, "log_every_steps=1", "checkpoint_every_steps=1")
    assert result.returncode == 0, result.stderr
    return work, result.stdout


def test_a_table_becomes_a_model_that_knows_its_labels(whole):
    work, printed = whole
    summary = json.loads((work / "summary.json").read_text())
    assert summary["evaluation"]["accuracy"] > 0.9
    assert summary["baseline"] == {"accuracy": 0.5}
    assert summary["collapsed"] is False
    card = (work / "model" / "README.md").read_text()
    assert "pipeline_tag: text-classification" in card
    assert f"accuracy | {summary['evaluation']['accuracy']:.4g}" in card
    assert "guessing: accuracy 0.5000" in printed
    assert "better than guessing (accuracy" in printed
    model = fl.SequenceClassification.from_pretrained(work / "model")
    assert model.config.labels == ("bad", "good")
    assert model.config.problem_type == "single_label_classification"
    tokenizer = fl.load_tokenizer(work / "model")
    logits = model(**jax.tree.map(jnp.asarray, tokenizer(["the house was warm"], max_length=16))).logits
    assert model.config.labels[int(logits[0].argmax())] == "good"
    predictions = [json.loads(line) for line in (work / "predictions" / "dev.jsonl").read_text().split("\n")[:-1]]
    assert len(predictions) == 40
    right = [each["prediction"] == ("bad", "good")[int(each["id"]) % 2 == 0] for each in predictions]
    assert np.mean(right) == pytest.approx(summary["evaluation"]["accuracy"])


def test_compilations_are_bounded_by_the_lengths(whole):
    assert 1 < whole[1].count("compiling the training step: ") <= 3  # 16, 32 and 64 tokens
    assert whole[1].count("compiling the evaluation step: ") <= 3


@pytest.mark.parametrize(("delay", "number"), [(0.3, signal.SIGKILL), (0.8, signal.SIGTERM)])
def test_a_killed_run_resumes_bit_for_bit(tmp_path, command, whole, delay, number):
    command.kill_and_resume(tmp_path / "work", series(whole[0]), delay, number)


def test_eight_devices_agree_with_one(tmp_path, command, whole):
    result = command.run(tmp_path / "work", "log_every_steps=1", "mesh.data=-1", devices=8)
    assert result.returncode == 0, result.stderr
    one, eight = (
        [row["loss"] for row in read_metrics(work / "metrics.jsonl") if row["split"] == "train"][:20]
        for work in (whole[0], tmp_path / "work")
    )
    assert eight == pytest.approx(one, rel=1e-4)


def test_seeds_are_runs_with_a_mean(tmp_path, table, capsys):
    more = ("seeds=2", "total_steps=2", "evaluations=1", "optimizer.learning_rate=1e-6")
    assert run(tmp_path / "work", table, *more) == 0
    results = json.loads((tmp_path / "work" / "results.json").read_text())
    assert list(results["seeds"]) == ["1", "2"]
    each = [results["seeds"][seed]["accuracy"] for seed in ("1", "2")]
    assert results["metrics"]["accuracy"] == {"mean": np.mean(each), "min": min(each), "max": max(each)}
    # Two steps of nothing teach nothing, and the table says so.
    assert results["collapsed"] == [1, 2]
    assert "no better than guessing" in capsys.readouterr().out
    assert (tmp_path / "work" / "results.md").read_text().count("no better than guessing") == 2
    # The same command finds both runs complete; another process at the same work would mix two tables.
    assert run(tmp_path / "work", table, *more) == 0
    with (tmp_path / "work" / "lock").open("a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert run(tmp_path / "work", table, *more) == 2
    assert "is in use by" in capsys.readouterr().err
    assert run(tmp_path / "work" / "seed-1", table, *more) == 2
    assert "holds something else (checkpoints" in capsys.readouterr().err


def test_a_finished_model_is_evaluated_and_taught_from(tmp_path, whole, table, capsys):
    model = whole[0] / "model"
    from train import evaluate

    config = str(REPOSITORY / "configs/classify.py:smoke")
    options = [f"--config.{each}" for each in overrides(table, f"tokenizer={model}")]
    for given in (f"checkpoint={model}", f"predictions={whole[0] / 'predictions' / 'dev.jsonl'}"):
        argv = ["--config", config, f"--config.{given}", *options]
        assert cli.main("evaluate", evaluate.EVALUATE_LEAVES, evaluate.run, argv) == 0
        scores = json.loads(capsys.readouterr().out)
        expected = json.loads((whole[0] / "summary.json").read_text())["evaluation"]
        assert scores["accuracy"] == pytest.approx(expected["accuracy"])
    # The same parameters once more, as a teacher: what it says of itself is nothing new.
    losses = ("losses.task=0.5", "losses.soft_cross_entropy=0.5")
    more = (f"init_from={model}", f"tokenizer={model}", f"teacher={model}", *losses)
    more += tuple(f"model.{name}=none" for name in SIZES)
    more += (
        "total_steps=1",
        "evaluations=1",
        "log_every_steps=1",
        "optimizer.warmup_steps=0",
        *(f"model.{name}=0" for name in DROPOUTS),
    )
    for cached in ("false", "true"):
        work = tmp_path / cached
        assert run(work, table, *more, f"distill.cache_teacher={cached}") == 0
        (row,) = (row for row in read_metrics(work / "metrics.jsonl") if row["split"] == "train")
        assert row["soft_cross_entropy_loss"] == pytest.approx(0.0, abs=1e-6)
        assert row["loss"] == pytest.approx(0.5 * row["task_loss"], rel=1e-5)
    assert "teacher's logits kept: 8 bytes an example" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("data.columns.text=txt",), "has no column 'txt', nearest is text"),
        (("data.source=nowhere",), "is none of builtin, files:PATH and tfds:NAME"),
        (("data.source=tfds:mine",), "classify is read from files:PATH alone"),
        (("tokenizer=none",), "tokenizer is missing"),
        (("data.problem=regression",), "'good' is not a finite number"),
        (("data.sequence_length=600",), "longer than the model's 512 positions"),
        (("class_weights=balanced", "data.max_train_examples=1"), "No training example has the label"),
        (("teacher=nowhere",), "teaches nothing"),
        (("epochs=2",), "epochs and total_steps say the same in two ways"),
        (("teacher=nowhere", "losses.soft_cross_entropy=1"), "nowhere"),
        (("losses.hidden_mse=1",), "losses.hidden_mse is what a teacher teaches"),
        (("init_from=nowhere",), "nowhere"),
        (("early_stopping_evaluations=1", "keep_best=false"), "it needs keep_best=true"),
        (("early_stopping_evaluations=0",), "is 0, expected at least 1"),
        (("distill.temperature=0",), "is 0.0, expected more than 0"),
    ],
)
def test_what_does_not_fit_is_one_message(tmp_path, table, capsys, more, message):
    assert run(tmp_path / "work", table, *more) == 2
    assert message in capsys.readouterr().err


def test_labels_of_another_task_are_refused_unless_the_head_is_new(tmp_path, whole, table, capsys):
    folder = tmp_path / "data"
    write_table(folder, 60)
    for file in folder.iterdir():
        file.write_text(file.read_text().replace("\tgood", "\tfine"))
    model = whole[0] / "model"
    more = (f"init_from={model}", f"tokenizer={model}", *(f"model.{name}=none" for name in SIZES))
    more += ("total_steps=1", "optimizer.warmup_steps=0")
    assert run(tmp_path / "work", f"files:{folder}", *more) == 2
    error = capsys.readouterr().err
    assert "knows the labels bad, good, the task has bad, fine" in error
    assert "new_head=true" in error
    assert run(tmp_path / "work", f"files:{folder}", *more, "new_head=true", "evaluations=1") == 0


def test_what_has_not_learnt_the_task_is_not_scored_and_teaches_nothing(tmp_path, whole, table, capsys):
    """Its head would be drawn at random, and its score a guess."""
    from train import evaluate

    fl.Encoder.from_pretrained(whole[0] / "model").save_pretrained(tmp_path / "encoder")
    fl.load_tokenizer(whole[0] / "model").save(tmp_path / "encoder")
    options = overrides(table, f"tokenizer={tmp_path / 'encoder'}", f"checkpoint={tmp_path / 'encoder'}")
    argv = ["--config", str(REPOSITORY / "configs/classify.py:smoke"), *(f"--config.{each}" for each in options)]
    assert cli.main("evaluate", evaluate.EVALUATE_LEAVES, evaluate.run, argv) == 2
    said = "cannot be used for classification: it is a model"
    assert said in capsys.readouterr().err
    more = (f"tokenizer={tmp_path / 'encoder'}", f"teacher={tmp_path / 'encoder'}", "losses.soft_cross_entropy=1")
    assert run(tmp_path / "work", table, *more) == 2
    assert said in capsys.readouterr().err
    spans = str(REPOSITORY / "configs/squad.py:v2,smoke")
    given = ("answers.head=beam", f"tokenizer={tmp_path / 'encoder'}", f"checkpoint={tmp_path / 'encoder'}")
    argv = ["--config", spans, *(f"--config.{each}" for each in given)]
    assert cli.main("evaluate", evaluate.EVALUATE_LEAVES, evaluate.run, argv) == 2
    assert "has no beam head beside it" in capsys.readouterr().err


def smoke(tmp_path, spec, *more):
    """Runs a config's smoke variant on its built-in task; returns the work directory."""
    options = [f"--config.{each}" for each in ("mesh.data=1", "plot=false", *more)]
    path = str(REPOSITORY / "configs" / spec)
    argv = ["--config", path, "--workdir", str(tmp_path / "work"), *options]
    assert cli.main("finetune", FINETUNE_LEAVES[load_config(path).table], finetune.run_request, argv) == 0
    return tmp_path / "work"


def test_a_finished_model_is_uploaded(tmp_path, table, monkeypatch, capsys):
    more = ("total_steps=2", "evaluations=1", "push_to_hub=me/mine")
    uploads = []
    monkeypatch.setattr(finetuning_report, "check_upload", lambda name: None)
    monkeypatch.setattr(
        finetuning_report, "push_to_hub", lambda folder, name: uploads.append((folder, name)) or "there"
    )
    assert run(tmp_path / "work", table, *more) == 0
    assert uploads == [(tmp_path / "work" / "model", "me/mine")]
    assert "uploaded: there" in capsys.readouterr().out

    def refused(folder, name):
        raise ValueError("the hub says no")

    monkeypatch.setattr(finetuning_report, "push_to_hub", refused)
    assert run(tmp_path / "other", table, *more) == 1
    error = capsys.readouterr().err
    assert f"the model is in {tmp_path / 'other' / 'model'}, but push_to_hub=me/mine: the hub says no" in error


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("push_to_hub=a/b/c",), "cannot be a repository's; expected NAME or OWNER/NAME"),
        (("push_to_hub=me/mine",), "push_to_hub=me/mine: uploading needs a token"),
        (("push_to_hub=me/mine", "seeds=2"), "2 seeds make as many models"),
    ],
)
def test_an_upload_that_cannot_be_is_refused_before_the_run(tmp_path, table, monkeypatch, capsys, more, message):
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    assert run(tmp_path / "work", table, *more) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "work").exists()


def test_alberts_head_for_squad_is_saved_beside_an_encoder(tmp_path):
    work = smoke(tmp_path, "squad.py:v2,smoke", "answers.head=beam")
    fl.Encoder.from_pretrained(work / "model")
    models = [BeamQuestionAnswering.from_pretrained(source) for source in (work / "model", f"{work}@best")]
    assert jax.tree.all(jax.tree.map(lambda one, two: (one == two).all(), *map(fl.get_params, models)))
    answer = fl.pipeline("question-answering", work)(question="who?", context="otto cleans lobsters.", top_k=2)
    assert len(answer) == 2
    answers, odds = (
        json.loads((work / "predictions" / f"heldout{end}.json").read_text()) for end in ("", "_null_odds")
    )
    assert answers.keys() == odds.keys()
    assert len(answers) == 32
    assert all(not answers[name] for name in answers if odds[name] > 0)
    assert {"f1", "exact_match", "best_f1"} <= json.loads((work / "summary.json").read_text())["evaluation"].keys()


def test_a_sentence_encoder_is_saved_with_its_pooling(tmp_path):
    work = smoke(tmp_path, "sentence.py:smoke", "sentences.objective=contrastive", "sentences.pooling=cls")
    modules = json.loads((work / "model" / "modules.json").read_text())
    assert [module["type"].rpartition(".")[2] for module in modules] == ["Transformer", "Pooling", "Normalize"]
    scores = json.loads((work / "summary.json").read_text())["evaluation"]
    assert {"spearman", "pearson", "loss"} == scores.keys()  # Spearman's decides, of built-in pairs too
    # What stands in for a benchmark is not called by its name.
    assert "| built-in data for sentences | held out | spearman |" in (work / "model" / "README.md").read_text()
    vectors = fl.pipeline("sentence-embedding", model=work / "model")(["tuesday", "otto"])
    assert np.linalg.norm(np.asarray(vectors), axis=-1) == pytest.approx([1.0, 1.0], abs=1e-5)


def test_steps_on_the_command_line_come_before_passes_over_the_data(tmp_path):
    request = cli.Request(
        job="finetune",
        leaves=FINETUNE_LEAVES["columns"],
        config=config_dict.FrozenConfigDict(load_config(str(REPOSITORY / "configs/classify.py")).values),
        spec="configs/classify.py",
        workdir=tmp_path,
    )
    prepared = types.SimpleNamespace(train=range(100))
    values = finetuning.resolved(request, prepared).values
    # Three passes over 100 rows in batches of 32, a tenth of warm-up, six evaluations.
    steps = ("total_steps", "optimizer.warmup_steps", "eval_every_steps", "checkpoint_every_steps")
    assert [values[name] for name in steps] == [10, 1, 1, 1]
    values = schema.nest({**request.values, "total_steps": 60, "eval_every_steps": 7})
    overrides = {"total_steps": "60", "eval_every_steps": "7"}
    given = dataclasses.replace(request, config=config_dict.FrozenConfigDict(values), overrides=overrides)
    assert [finetuning.resolved(given, prepared).values[name] for name in steps] == [60, 6, 7, 1]


def test_the_job_can_be_called(tmp_path, table):
    config = load_config(str(REPOSITORY / "configs/classify.py:smoke")).values
    config["data"] |= {"source": table, "max_train_examples": 32}
    config |= {"plot": False, "mesh": {"data": 1, "fsdp": 1}, "epochs": 0.5, "evaluations": 1, "warmup_fraction": 0.0}
    summary = finetune.run(config, tmp_path / "work", table="columns")
    assert summary["step"] == 1  # 32 examples, half a pass, in batches of 16
    assert set(summary["evaluation"]) == {"loss", "accuracy"}
