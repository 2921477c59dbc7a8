"""Scoring files of predictions on their held-out set, and checkpoints with their own tokenizer."""

import json

import jax
import pytest

from flax_lite.models.heads import SequenceClassification
from tests.conftest import REPOSITORY
from tests.flax_lite import tiny
from tests.train.tasks.readers.glue_files import write_mnli
from train import evaluate
from train.options import cli
from train.options.config_files import load_config
from train.tasks.examples import Prediction
from train.tasks.readers.glue import read_glue
from train.tasks.readers.ner import read_ner
from train.tasks.scores.scoring import Scorer


def scores(capsys, config, source, path):
    config = str(REPOSITORY / "configs" / config)
    argv = ["--config", config, f"--config.data.source={source}", f"--config.predictions={path}"]
    table = load_config(config).table
    assert cli.main("evaluate", {table: evaluate.EVALUATE_OPTIONS[table]}, evaluate.run, argv) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(("name", "accuracy"), [("matched", 0.5), ("mismatched", 1.0)])
def test_predictions_are_scored_on_the_set_that_the_file_is_named_after(tmp_path, capsys, name, accuracy):
    write_mnli(tmp_path / "MNLI")
    source = f"files:{tmp_path}"
    data = read_glue("mnli", source)
    examples = data.evaluation[name]
    path = Scorer("mnli", data).write(name, examples, [Prediction(id=e.id, value=1) for e in examples], tmp_path)
    found = scores(capsys, "glue.py:mnli", source, path)
    assert (found["set"], found["accuracy"], found["examples"]) == (name, accuracy, 2)


def test_predictions_of_a_labeled_test_set_are_scored(tmp_path, capsys):
    for name, tag in {"train": "B-X", "dev": "B-X", "test": "O"}.items():
        (tmp_path / f"{name}.conll").write_text(f"a {tag}\nb B-X\n\n")
    source = f"files:{tmp_path}"
    data = read_ner(source)
    wrong = [Prediction(id="0", value=(1, 1))]
    path = Scorer("ner", data).write("test", data.test["test"], wrong, tmp_path / "predictions")
    found = scores(capsys, "ner.py", source, path)
    assert (found["set"], found["entity_precision"], found["entity_recall"]) == ("test", 0.5, 1.0)
    mine = tmp_path / "mine.conll"
    mine.write_text(path.read_text())
    assert scores(capsys, "ner.py", source, mine)["set"] == "dev"


PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "bad", "day", "two"]
SIZES = {"vocab_size": len(PIECES), "num_hidden_layers": 1, "max_position_embeddings": 64, "labels": ("a", "b")}
SMOKE = {"data.max_eval_examples": "none", "data.sequence_length": "16"}


def write_vocabulary(folder, pieces=PIECES):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(pieces) + "\n")
    return folder


@pytest.fixture
def model(tmp_path):
    """`model(name, tokenizer=True, **sizes)`: saves a classifier and returns its directory."""

    def model(name, *, tokenizer=True, broken=False, **sizes):
        made = tiny.make(SequenceClassification, tiny.bert(**{**SIZES, **sizes}))
        if broken:
            made = jax.tree.map(lambda array: array * 1e37, made)  # overflows; files with NaN are not opened
        made.save_pretrained(tmp_path / name, format="safetensors")
        if tokenizer:
            write_vocabulary(tmp_path / name)
        return tmp_path / name

    return model


@pytest.fixture
def source(tmp_path):
    """A table of 40 texts."""
    rows = [f"{'good' if n % 2 else 'bad'} day,two,{'ab'[n % 2]}" for n in range(40)]
    (tmp_path / "mine.csv").write_text("\n".join(["text,second,label", *rows]) + "\n")
    return tmp_path / "mine.csv"


def evaluated(capsys, source, **options):
    """Returns status, result and standard error."""
    table = load_config(str(REPOSITORY / "configs/classify.py")).table
    given = {"data.source": f"files:{source}", **SMOKE, **options}
    argv = ["--config", f"{REPOSITORY / 'configs/classify.py'}:smoke"]
    argv += [f"--config.{name}={value}" for name, value in given.items()]
    status = cli.main("evaluate", {table: evaluate.EVALUATE_OPTIONS[table]}, evaluate.run, argv)
    output, errors = capsys.readouterr()

    def never(name):
        raise AssertionError(f"{name} is no JSON")

    return status, json.loads(output, parse_constant=never) if output else {}, errors


def test_a_checkpoint_is_read_with_its_own_tokenizer(model, source, tmp_path, capsys):
    """Whether or not it is given, and whatever tokenizer the config would train; all rows are scored."""
    folder = model("whole")
    same = write_vocabulary(tmp_path / "same")
    results = [evaluated(capsys, source, checkpoint=folder, **options) for options in ({}, {"tokenizer": same})]
    assert [status for status, _, _ in results] == [0, 0]
    assert results[0][1] == results[1][1]
    assert results[0][1]["examples"] == 40
    message = f"tokenizer: of checkpoint={folder}; tokenizer=train:wordpiece:600 would train another one"
    assert [message in errors for _, _, errors in results] == [True, False]


def test_a_fraction_of_a_file_is_scored_if_given(model, source, tmp_path, capsys):
    """The result of a part has the number of examples of the whole as well."""
    (tmp_path / "alone").mkdir()
    (tmp_path / "alone" / "train.csv").write_bytes(source.read_bytes())
    folder = model("m")

    def counts(source, **options):
        found = evaluated(capsys, source, checkpoint=folder, tokenizer="none", **options)[1]
        return found["examples"], found.get("of_examples")

    part, whole = counts(source, **{"data.eval_fraction": "0.5"})
    assert (0 < part < 40, whole) == (True, 40)
    assert counts(source, **{"data.max_eval_examples": 7}) == (7, 40)
    assert counts(source, **{"data.eval_fraction": "0.5", "data.max_eval_examples": 1}) == (1, 40)
    assert counts(tmp_path / "alone", **{"data.eval_fraction": "0.5"}) == (part, 40)
    assert counts(source) == (40, None)


@pytest.mark.parametrize(
    ("given", "options", "message"),
    [
        (
            {},
            {"tokenizer": "OTHER"},
            "checkpoint=MODEL has another vocabulary than tokenizer=OTHER (9 pieces there, 9 here; first id 5: 'good'",
        ),
        ({}, {"tokenizer": "SHORT"}, "checkpoint=MODEL has another vocabulary than tokenizer=SHORT"),
        (
            {"tokenizer": False},
            {},
            "checkpoint=MODEL: no tokenizer there. Give the tokenizer that the model was trained with",
        ),
        ({"tokenizer": False}, {"tokenizer": "none"}, "checkpoint=MODEL: no tokenizer there"),
        (
            {"tokenizer": False, "vocab_size": 8},
            {"tokenizer": "SAME"},
            "checkpoint=MODEL has 8 word embeddings, too few for a tokenizer of 9 pieces",
        ),
        (
            {"max_position_embeddings": 12},
            {},
            "data.sequence_length=16 is longer than the 12 positions of checkpoint=MODEL",
        ),
        (
            {"type_vocab_size": 1},
            {"data.columns.text_pair": "second"},
            "checkpoint=MODEL has an embedding for 1 token type",
        ),
        ({"broken": True}, {}, "checkpoint=MODEL returns NaN or infinity for 40 of 40 rows"),
    ],
)
def test_a_checkpoint_that_the_rows_do_not_fit_is_refused(model, source, tmp_path, capsys, given, options, message):
    folder = model("m", **given)
    names = {
        "MODEL": str(folder),
        "OTHER": str(write_vocabulary(tmp_path / "other", [*PIECES[:5], "gold", *PIECES[6:]])),
        "SHORT": str(write_vocabulary(tmp_path / "short", PIECES[:-1])),
        "SAME": str(write_vocabulary(tmp_path / "same")),
    }
    filled = {name: names.get(value, value) for name, value in options.items()}
    status, found, errors = evaluated(capsys, source, checkpoint=folder, **filled)
    for name, path in names.items():
        message = message.replace(name, path)
    assert message in errors
    assert (status, found) == (2, {})
    assert "Traceback" not in errors


def test_single_texts_fit_a_model_with_one_token_type(model, source, capsys):
    status, found, _ = evaluated(capsys, source, checkpoint=model("m", type_vocab_size=1))
    assert (status, found["examples"]) == (0, 40)
