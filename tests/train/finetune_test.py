"""The fine-tuning job: from a table to a scored model, resumed, with several seeds, and with mistakes."""

import fcntl
import itertools
import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import flax_lite as fl
from flax_lite.question_answering.beam import BeamQuestionAnswering
from tests.conftest import REPOSITORY
from tests.train.commands import Command, series
from tests.train.conftest import write_table
from train import finetune
from train.jobs import finetuning_report
from train.machine.mesh import make_mesh
from train.options.config_files import load_config
from train.run import loop
from train.run.metrics import read_metrics

CONFIG = str(REPOSITORY / "configs/classify.py")
# The options that init_from replaces.
SIZES = ("preset", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
DROPOUTS = ("hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout_prob")


def started_from(model, *more):
    return (f"init_from={model}", f"tokenizer={model}", *(f"model.{name}=none" for name in SIZES), *more)


def with_source(command, folder):
    return command._replace(overrides=(*command.overrides, f"data.source=files:{folder}"))


@pytest.mark.compat
def test_finetune_makes_a_model_that_knows_its_labels(finished_finetune):
    _, work, printed = finished_finetune
    summary = json.loads((work / "summary.json").read_text())
    assert summary["evaluation"]["accuracy"] > 0.9
    assert summary["baseline"] == {"accuracy": 0.5}
    assert summary["collapsed"] is False
    card = (work / "model" / "README.md").read_text()
    assert "pipeline_tag: text-classification" in card
    assert f"accuracy | {summary['evaluation']['accuracy']:.4g}" in card
    assert "guessing: accuracy 0.5000" in printed
    last = [row for row in read_metrics(work / "metrics.jsonl") if row["split"] == "train"][-1]
    assert last["epoch"] == pytest.approx(60 * 16 / 200)
    assert f"step 60/60  epoch 4.8  loss_mean {last['loss_mean']:.4g}  task_accuracy" in printed
    assert "better than guessing (accuracy" in printed
    model = fl.SequenceClassification.from_pretrained(work / "model")
    assert model.config.labels == ("bad", "good")
    assert model.config.problem_type == "single_label_classification"
    tokenizer = fl.load_tokenizer(work / "model")
    assert fl.load_tokenizer(work / "tokenizer").fingerprint == tokenizer.fingerprint
    inputs = jax.tree.map(jnp.asarray, tokenizer(["the house was warm"], max_length=16))
    logits = jax.jit(lambda inputs: model(**inputs).logits)(inputs)
    assert model.config.labels[int(logits[0].argmax())] == "good"
    predictions = [json.loads(line) for line in (work / "predictions" / "dev.jsonl").read_text().split("\n")[:-1]]
    assert len(predictions) == 40
    right = [each["prediction"] == ("bad", "good")[int(each["id"]) % 2 == 0] for each in predictions]
    assert np.mean(right) == pytest.approx(summary["evaluation"]["accuracy"])
    report = json.loads((work / "report.json").read_text())
    assert report["step"] == summary["model_step"]
    matrix = report["sets"]["dev"]["confusion_matrix"]
    assert [sum(row) for row in matrix] == [20, 20]
    assert (matrix[0][0] + matrix[1][1]) / 40 == pytest.approx(summary["evaluation"]["accuracy"])
    assert f"  good: precision {report['sets']['dev']['classes']['good']['precision']:.4f}" in printed
    assert f"  report: {work / 'report.json'}\n" in printed  # plot=false


def test_finetune_compilations_are_bounded_by_the_lengths(finished_finetune):
    printed = finished_finetune.printed
    lengths = re.findall(r"^compiling the training step for batches of 16 x (\d+): ", printed, re.MULTILINE)
    assert 1 < len(lengths) == len(set(lengths))
    assert set(lengths) <= {"16", "32", "64"}
    assert len(re.findall(r"^compiling the evaluation step for batches of \d+ x \d+: ", printed, re.MULTILINE)) <= 3


@pytest.mark.compat
def test_finetune_resumed_is_bit_equal_and_uploaded(tmp_path, finished_finetune, monkeypatch, capsys):
    work = finished_finetune.copy(tmp_path / "work", last=40)
    uploads = []
    monkeypatch.setattr(finetuning_report, "check_upload", lambda name: None)
    monkeypatch.setattr(
        finetuning_report, "push_to_hub", lambda folder, name: uploads.append((folder, name)) or "there"
    )
    again = ("keep_checkpoints=3", "push_to_hub=me/mine")
    assert finished_finetune.command.main(work, *again) == 0
    printed = capsys.readouterr().out
    assert "continuing from the checkpoint of step 40" in printed
    assert "Training a wordpiece tokenizer" in finished_finetune.printed
    assert "Training a wordpiece tokenizer" not in printed  # it uses the one in the work directory
    assert series(work) == series(finished_finetune.workdir)
    assert uploads == [(work / "model", "me/mine")]
    assert "uploaded: there" in printed


def test_finetune_names_the_model_when_an_upload_fails(tmp_path, finished_finetune, monkeypatch, capsys):
    """At the last checkpoint, with no steps left."""
    work = finished_finetune.copy(tmp_path / "work", last=60)

    def refused(folder, name):
        raise ValueError("the hub says no")

    monkeypatch.setattr(finetuning_report, "check_upload", lambda name: None)
    monkeypatch.setattr(finetuning_report, "push_to_hub", refused)
    assert finished_finetune.command.main(work, "push_to_hub=me/mine") == 1
    assert f"the model is in {work / 'model'}, but push_to_hub=me/mine: the hub says no" in capsys.readouterr().err


@pytest.fixture
def untrained(monkeypatch):
    """The requests that reached the loop, which only writes a summary."""
    requests = []

    def run(request, build, inputs):
        requests.append(request)
        request.workdir.mkdir(parents=True)
        summary = {"evaluation": {"loss": 1.0, "accuracy": request.config.seed / 4}, "collapsed": True}
        (request.workdir / "summary.json").write_text(json.dumps(summary))

    monkeypatch.setattr(loop, "run", run)
    return requests


def test_finetune_seeds_are_runs_with_a_mean(tmp_path, classify, untrained, capsys):
    work = tmp_path / "work"
    assert classify.main(work, "seeds=2") == 0
    assert [(each.config.seed, each.config.seeds, each.workdir.name) for each in untrained] == [
        (1, 1, "seed-1"),
        (2, 1, "seed-2"),
    ]
    results = json.loads((work / "results.json").read_text())
    assert [results["seeds"][seed]["accuracy"] for seed in ("1", "2")] == [0.25, 0.5]
    assert results["metrics"]["accuracy"] == {"mean": 0.375, "min": 0.25, "max": 0.5}
    assert next(iter(results["metrics"])) == "accuracy"
    # Runs that did not learn are named.
    assert results["collapsed"] == [1, 2]
    assert "no better than guessing" in capsys.readouterr().out
    assert (work / "results.md").read_text().count("no better than guessing") == 2
    # Two processes would mix their tables.
    with (work / "lock").open("a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert classify.main(work, "seeds=2") == 2
    assert "is in use by" in capsys.readouterr().err
    (work / "seed-1" / "checkpoints").mkdir()
    assert classify.main(work / "seed-1", "seeds=2") == 2
    assert "holds something else (checkpoints" in capsys.readouterr().err


def test_finetune_says_what_its_curve_says(tmp_path, classify, capsys):
    """At a learning rate near zero nothing is learned in 30 steps, and a lower rate would not help."""
    assert classify.main(tmp_path / "work", "optimizer.learning_rate=1e-9", "total_steps=30", "plot=true") == 0
    summary = json.loads((tmp_path / "work" / "summary.json").read_text())
    assert summary["collapsed"] is True
    verdict = next(line for line in capsys.readouterr().out.splitlines() if "no better than guessing" in line)
    assert "Underfitting: the training loss, 0." in verdict
    assert "30 steps are few. Train for more steps (epochs), or with a higher learning rate." in verdict
    assert "lower learning rate" not in verdict
    for name in ("loss", "accuracy", "confusion_matrix"):
        assert (tmp_path / "work" / f"{name}.png").is_file()


def test_finetune_logs_at_least_ten_rows(tmp_path, classify, untrained, capsys):
    assert classify.main(tmp_path / "rare", "log_every_steps=20") == 0
    assert "log_every_steps: 20 -> 6, so that 60 steps have at least 10 rows of metrics" in capsys.readouterr().out
    assert classify.main(tmp_path / "often", "log_every_steps=5") == 0
    assert classify.main(tmp_path / "few", "log_every_steps=5", "total_steps=3") == 0
    assert [request.config.log_every_steps for request in untrained] == [6, 5, 1]


def test_finetune_can_be_called(tmp_path, table, untrained):
    config = load_config(f"{CONFIG}:smoke").values
    config["data"] |= {"source": table, "max_train_examples": 32}
    config |= {"plot": False, "mesh": {"data": 1, "fsdp": 1}, "epochs": 0.5, "evaluations": 1, "warmup_fraction": 0.0}
    summary = finetune.run(config, tmp_path / "work", table="columns")
    assert untrained[0].config.total_steps == 1  # 32 examples, half an epoch, in batches of 16
    assert set(summary["evaluation"]) == {"loss", "accuracy"}
    results = finetune.run({**config, "seeds": 2}, tmp_path / "several", table="columns")
    assert list(results["seeds"]) == ["1", "2"]


@pytest.mark.slow  # two real runs; the tests above cover its parts
def test_finetune_seeds_that_were_trained_are_not_trained_again(tmp_path, classify, capsys):
    more = ("seeds=2", "total_steps=2", "evaluations=1", "optimizer.learning_rate=1e-6")
    assert classify.main(tmp_path / "work", *more) == 0
    assert "no better than guessing" in capsys.readouterr().out
    results = (tmp_path / "work" / "results.json").read_text()
    assert json.loads(results)["collapsed"] == [1, 2]
    assert classify.main(tmp_path / "work", *more) == 0
    assert capsys.readouterr().out.count("is complete") == 2
    assert (tmp_path / "work" / "results.json").read_text() == results


def evaluated(command, *overrides):
    """Returns the exit status of train.evaluate on a fine-tuning's data."""
    return Command("evaluate", command.config, command.overrides).main("runs/none", *overrides)


@pytest.mark.compat
def test_finetune_model_is_scored_by_evaluate_as_by_the_job(finished_finetune, classify, capsys):
    work = finished_finetune.workdir
    expected = json.loads((work / "summary.json").read_text())["evaluation"]
    for given in (f"checkpoint={work / 'model'}", f"predictions={work / 'predictions' / 'dev.jsonl'}"):
        assert evaluated(classify, f"tokenizer={work / 'model'}", given) == 0
        assert json.loads(capsys.readouterr().out)["accuracy"] == pytest.approx(expected["accuracy"])


@pytest.mark.parametrize("cached", ["false", "true"])
def test_finetune_from_its_own_teacher_has_no_distillation_loss(
    tmp_path, finished_finetune, classify, built, cached, capsys
):
    """With the same parameters as student and teacher the logits are equal, cached or computed in the step."""
    model = finished_finetune.workdir / "model"
    more = started_from(model, f"teacher={model}", "losses.task=0.5", "losses.soft_cross_entropy=0.5")
    more += (f"distill.cache_teacher={cached}", *(f"model.{name}=0" for name in DROPOUTS))
    job = built(classify, tmp_path / "work", *more)
    shapes = jax.eval_shape(job.init_state, jax.random.key(0))
    state = jax.tree.map(lambda array: np.zeros(array.shape, array.dtype), shapes) | {"params": job.initial_params()}
    batch = next(iter(job.train_batches(0)))
    numbers = jax.device_get(jax.jit(job.train_step)(state, batch, *job.constants(make_mesh(1, 1)))[1])
    assert numbers["soft_cross_entropy_loss"] == pytest.approx(0.0, abs=1e-6)
    assert numbers["loss"] == pytest.approx(0.5 * numbers["task_loss"], rel=1e-5)
    assert ("teacher's logits kept: 8 bytes an example" in capsys.readouterr().out) == (cached == "true")
    score = json.loads((finished_finetune.workdir / "summary.json").read_text())["evaluation"]["accuracy"]
    assert list(job.describe_data)[-1] == f"teacher: accuracy {score:.4f} (guessing: accuracy 0.5000)"


def test_finetune_refuses_labels_of_another_task_unless_the_head_is_new(
    tmp_path, finished_finetune, classify, built, capsys
):
    folder = tmp_path / "data"
    write_table(folder, 60)
    for file in folder.iterdir():
        file.write_text(file.read_text().replace("\tgood", "\tfine").replace("\tbad", "\tawful", 1))
    model, command = finished_finetune.workdir / "model", with_source(classify, folder)
    assert command.main(tmp_path / "work", *started_from(model)) == 2
    error = capsys.readouterr().err
    assert "has the labels bad, good, but the task has awful, bad, fine" in error
    assert "new_head=true" in error
    job = built(command, tmp_path / "work", *started_from(model, "new_head=true"))
    initial, source = job.initial_params(), fl.get_params(fl.SequenceClassification.from_pretrained(model))
    jax.tree.map(np.testing.assert_array_equal, initial["encoder"], source["encoder"])
    assert initial["classifier"]["kernel"].shape[-1] == 3
    assert np.abs(initial["classifier"]["kernel"]).max() > 0
    assert job.model["id2label"] == {"0": "awful", "1": "bad", "2": "fine"}


def test_finetune_and_evaluate_refuse_models_of_other_tasks(tmp_path, finished_finetune, classify, capsys):
    """Their head would be random, and the score a guess."""
    model, encoder = finished_finetune.workdir / "model", tmp_path / "encoder"
    fl.Encoder.from_pretrained(model).save_pretrained(encoder)
    fl.load_tokenizer(model).save(encoder)
    message = "cannot be used for classification: it is a model"
    assert evaluated(classify, f"tokenizer={encoder}", f"checkpoint={encoder}") == 2
    assert message in capsys.readouterr().err
    more = (f"tokenizer={encoder}", f"teacher={encoder}", "losses.soft_cross_entropy=1")
    assert classify.main(tmp_path / "work", *more) == 2
    assert message in capsys.readouterr().err
    spans = Command("finetune", "configs/squad.py:v2,smoke", ("answers.head=beam",))
    assert evaluated(spans, f"tokenizer={encoder}", f"checkpoint={encoder}") == 2
    assert "has no beam head" in capsys.readouterr().err


def smoke(tmp_path, spec, *overrides):
    """Runs a config's smoke variant on its built-in task; returns the work directory."""
    few = ("plot=false", "execution.unroll=1", "total_steps=4", "evaluations=2")
    assert Command("finetune", f"configs/{spec}", few).main(tmp_path / "work", *overrides) == 0
    return tmp_path / "work"


def test_finetune_saves_alberts_head_for_squad_beside_an_encoder(tmp_path):
    work = smoke(tmp_path, "squad.py:v2,smoke", "answers.head=beam")
    fl.Encoder.from_pretrained(work / "model")
    models = [BeamQuestionAnswering.from_pretrained(source) for source in (work / "model", f"{work}@best")]
    jax.tree.map(np.testing.assert_array_equal, *map(fl.get_params, models))
    answer = fl.pipeline("question-answering", work)(question="who?", context="otto cleans lobsters.", top_k=2)
    assert len(answer) == 2
    answers, odds = (
        json.loads((work / "predictions" / f"heldout{end}.json").read_text()) for end in ("", "_null_odds")
    )
    assert answers.keys() == odds.keys()
    assert len(answers) == 32
    assert all(not answers[name] for name in answers if odds[name] > 0)
    assert {"f1", "exact_match", "best_f1"} <= json.loads((work / "summary.json").read_text())["evaluation"].keys()


def test_finetune_saves_a_sentence_encoder_with_its_pooling(tmp_path):
    work = smoke(tmp_path, "sentence.py:smoke", "sentences.objective=contrastive", "sentences.pooling=cls")
    modules = json.loads((work / "model" / "modules.json").read_text())
    assert [module["type"].rpartition(".")[2] for module in modules] == ["Transformer", "Pooling", "Normalize"]
    scores = json.loads((work / "summary.json").read_text())["evaluation"]
    assert {"spearman", "pearson", "loss"} == scores.keys()  # Spearman's is the headline, of built-in pairs too
    # The built-in data is not called by the benchmark's name.
    assert "| built-in data for sentences | held out | spearman |" in (work / "model" / "README.md").read_text()
    vectors = fl.pipeline("sentence-embedding", model=work / "model")(["tuesday", "otto"])
    assert np.linalg.norm(np.asarray(vectors), axis=-1) == pytest.approx([1.0, 1.0], abs=1e-5)


@pytest.mark.parametrize(
    ("words", "labels", "status", "message"),
    [
        ("", "pn", 2, "every token of the training examples is [UNK]"),
        ("a b c ", "pn", 0, "tokens: in training 25.00% of them unknown, in dev 25.00% of them unknown"),
        ("a ", "pn", 0, "note: 50% of the tokens of the texts in training are unknown"),
        ("a b ", "p", 0, "training examples have the same label, p: there is nothing to learn"),
    ],
)
def test_finetune_reports_texts_that_nothing_can_be_learned_from(
    tmp_path, built, capsys, words, labels, status, message
):
    """A word of over 100 letters is unknown to WordPiece, whatever its vocabulary."""
    rows = [f"{words}{'d' * 150}{number},{labels[number % len(labels)]}" for number in range(40)]
    (tmp_path / "train.csv").write_text("\n".join(["text,label", *rows]))
    more = ("data.labels=p,n", "data.eval_fraction=0.25", "plot=false", "data.sequence_length=16")
    command = Command("finetune", "configs/classify.py:smoke", (f"data.source=files:{tmp_path}/train.csv", *more))
    if status:
        assert command.main(tmp_path / "work") == status
        assert message in capsys.readouterr().err
    else:
        assert message in "\n".join(built(command, tmp_path / "work").describe_data)


HEADS = {
    "bert": (fl.BertConfig, "bert-tiny", {"intermediate_size": 16}, {"classifier"}),
    "albert": (fl.AlbertConfig, "albert-base-v2", {"intermediate_size": 16, "embedding_size": 8}, {"classifier"}),
    "distilbert": (
        fl.DistilBertConfig,
        "distilbert-base-uncased",
        {"intermediate_size": 16},
        {"classifier", "pre_classifier"},
    ),
}


@pytest.mark.parametrize(
    ("family", "labels"),
    [
        ("bert", ("p", "n")),
        ("bert", ("good", "bad")),
        ("albert", ("LABEL_0", "LABEL_1")),
        ("distilbert", ("n", "p")),
        ("distilbert", ("one", "two", "three")),
    ],
)
def test_finetune_initializes_a_new_head_for_every_seed(tmp_path, built, family, labels):
    kind, preset, sizes, heads = HEADS[family]
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "words", *map(str, range(10))]
    sizes = {**sizes, "vocab_size": len(words), "hidden_size": 8, "num_attention_heads": 2, "num_hidden_layers": 1}
    config = kind.from_preset(preset, **sizes, max_position_embeddings=16, labels=labels)
    model = fl.SequenceClassification(config, rngs=nnx.Rngs(7))
    model.save_pretrained(tmp_path / "m", format="safetensors")
    (tmp_path / "m" / "vocab.txt").write_text("\n".join(words))
    rows = [f"words {number % 10} {number // 10},{'pn'[number % 2]}" for number in range(40)]
    (tmp_path / "train.csv").write_text("\n".join(["text,label", *rows]))
    more = (f"data.source=files:{tmp_path}/train.csv", "plot=false", "data.sequence_length=16", "new_head=true")
    command = Command("finetune", "configs/classify.py:smoke", more)
    source = fl.get_params(model)
    initial = []
    for number, seed in enumerate((1, 2, 2)):
        job = built(command, tmp_path / f"w{number}", *started_from(tmp_path / "m", f"seed={seed}"))
        initial.append(job.initial_params())
    for params in initial:
        jax.tree.map(np.testing.assert_array_equal, params["encoder"], source["encoder"])
    assert set(initial[0]) - {"encoder"} == heads
    for head in heads:
        kernels = [source[head]["kernel"], *(params[head]["kernel"] for params in initial)]
        assert [np.array_equal(one, other) for one, other in itertools.pairwise(kernels)] == [0, 0, 1]
