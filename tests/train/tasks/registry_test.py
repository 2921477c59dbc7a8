"""From the options of a command to the data of a task, and the order of its labels."""

import pytest
from flax import nnx

import flax_lite as fl
from tests.conftest import REPOSITORY
from tests.flax_lite import tiny
from tests.train.tasks.readers.glue_files import write
from train.machine.signals import Guard
from train.options.command_line import parse
from train.options.task_tables import FINETUNE_OPTIONS
from train.tasks.examples import Prediction
from train.tasks.opening import open_data
from train.tasks.scores.scoring import Scorer


def read(config, source, *overrides):
    arguments = ["--config", str(REPOSITORY / "configs" / config), f"--config.data.source=files:{source}"]
    arguments += [f"--config.{each}" for each in overrides]
    return open_data(parse("finetune", FINETUNE_OPTIONS, arguments, Guard()).values)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A directory for each head, with labels that are not sorted, and one for an encoder without head."""
    home = tmp_path_factory.mktemp("models")
    heads = {
        "texts": (fl.SequenceClassification, ("c", "b", "a")),
        "words": (fl.TokenClassification, ("B-X", "O", "B-Y")),
        "none": (fl.Encoder, ("a", "b", "c")),
        "unnamed": (fl.SequenceClassification, ("LABEL_0", "LABEL_1", "LABEL_2")),
    }
    for name, (model_class, labels) in heads.items():
        model_class(tiny.FAMILIES["distilbert"](labels=labels), rngs=nnx.Rngs(0)).save_pretrained(home / name)
    return home


TEXTS = "text,label\n" + "".join(f"t {number},{'ab'[number % 2]}\n" for number in range(40))
NUMBERS = TEXTS.replace(",a", ",0").replace(",b", ",2")


@pytest.mark.parametrize(
    ("text", "overrides", "labels"),
    [
        (TEXTS, (), ("a", "b")),
        (TEXTS, ("data.labels=b,a,d",), ("b", "a", "d")),
        (TEXTS, ("init_from={}/texts",), ("c", "b", "a")),
        (TEXTS, ("init_from={}/texts", "new_head=true"), ("a", "b")),
        (TEXTS, ("init_from={}/texts", "data.labels=a,b"), ("a", "b")),
        (TEXTS, ("teacher={}/texts",), ("c", "b", "a")),
        (TEXTS, ("init_from={}/none", "teacher={}/texts"), ("c", "b", "a")),
        (TEXTS, ("init_from={}/none",), ("a", "b")),
        (TEXTS, ("init_from={}/words",), ("a", "b")),
        (TEXTS, ("init_from={}/nowhere",), ("a", "b")),
        (TEXTS, ("init_from={}/unnamed",), ("a", "b")),
        (NUMBERS, ("init_from={}/unnamed",), ("0", "1", "2")),
        (NUMBERS, ("init_from={}/texts",), ("0", "2")),
    ],
)
def test_labels_are_those_of_the_options_the_model_or_the_data(tmp_path, models, text, overrides, labels):
    (tmp_path / "a.csv").write_text(text)
    assert read("classify.py", tmp_path / "a.csv", *(each.format(models) for each in overrides)).labels == labels


@pytest.mark.parametrize(
    ("overrides", "labels", "words"),
    [
        ((), ("O", "B-X"), ("1", "2")),
        (("init_from={}/words",), ("B-X", "O", "B-Y"), ("1", "2")),
        (("data.labels=O,B-Z,B-X",), ("O", "B-Z", "B-X"), ("1", "2")),
        (("data.columns.word=1",), ("O", "B-X"), ("Anna", "x")),
        (("data.columns.word=1", "data.columns.tag=2"), ("O", "B-Y"), ("Anna", "x")),
    ],
)
def test_columns_and_labels_of_words_are_options(tmp_path, models, overrides, labels, words):
    for name in ("train.txt", "val.txt"):
        (tmp_path / name).write_text(
            "1 Anna B-Y B-X\n2 x O O\n\n" if "columns.word" in str(overrides) else "1 B-X\n2 O\n"
        )
    data = read("ner.py", tmp_path, *(each.format(models) for each in overrides))
    assert (data.labels, data.train[0].words) == (labels, words)


ROWS = {"equivalent": "1", "not_equivalent": "0"}


@pytest.mark.parametrize("labels", [tuple(ROWS), tuple(reversed(ROWS)), tuple(map(str.upper, ROWS))])
def test_benchmark_labels_have_the_order_of_the_model_but_are_scored_and_written_as_before(tmp_path, labels):
    model = fl.SequenceClassification(tiny.FAMILIES["distilbert"](labels=labels), rngs=nnx.Rngs(0))
    model.save_pretrained(tmp_path / "model")
    head = ["Quality", "#1 ID", "#2 ID", "#1 String", "#2 String"]
    rows = [head, *([written, "1", "2", "a", "b"] for written in "1110010110")]
    write(
        tmp_path, train=rows, dev=rows, test=[["index", *head[1:]], *([str(n), "1", "2", "a", "b"] for n in range(2))]
    )
    data = read("glue.py:mrpc", tmp_path, f"init_from={tmp_path / 'model'}")
    assert data.labels == tuple(map(str.lower, labels))
    dev, scorer = data.evaluation["dev"], Scorer("mrpc", data)
    assert [ROWS[data.labels[e.label]] for e in dev] == list("1110010110")
    predictions = [
        Prediction(id=e.id, value=data.labels.index(name))
        for e, name in zip(dev, ["equivalent"] * 7 + ["not_equivalent"] * 3, strict=True)
    ]
    assert scorer.score(dev, predictions).values["f1"] == pytest.approx(8 / 13)
    path = scorer.write("dev", dev, predictions, tmp_path)
    assert [line.split("\t")[1] for line in path.read_text().splitlines()[1:]] == list("1111111000")
    assert scorer.read(path, dev) == predictions


def test_labels_of_xnli_have_the_order_of_the_model(tmp_path):
    labels = ("contradiction", "entailment", "neutral")
    model = fl.SequenceClassification(tiny.FAMILIES["distilbert"](labels=labels), rngs=nnx.Rngs(0))
    model.save_pretrained(tmp_path / "model")
    head = "language\tgold_label\tsentence1\tsentence2\tpairID\n"
    (tmp_path / "xnli.dev.tsv").write_text(head + "".join(f"en\t{name}\ta\tb\t{name}\n" for name in labels))
    data = read("xnli.py", tmp_path, f"init_from={tmp_path / 'model'}")
    assert (data.labels, [e.label for e in data.evaluation["dev"]]) == (labels, [0, 1, 2])
    assert read("xnli.py", tmp_path).labels == ("entailment", "neutral", "contradiction")


def test_tables_without_a_header_and_with_separators_are_options(tmp_path):
    (tmp_path / "train.txt").write_text("p|good; 1\nn|bad; 1\n" * 2)
    (tmp_path / "val.txt").write_text("p|good\n")
    more = ("data.columns.header=label,text", "data.separator=bar")
    data = read("classify.py", tmp_path, *more)
    assert [e.texts for e in (*data.train[:2], *data.evaluation["dev"])] == [("good; 1",), ("bad; 1",), ("good",)]


def test_skipped_and_held_out_rows_are_noted(tmp_path):
    (tmp_path / "train.csv").write_text(TEXTS + TEXTS)
    first, second = read("classify.py", tmp_path).notes
    assert first == f"{tmp_path} has no evaluation file: a share of 0.1 of train.csv is held out."
    assert second == f"{tmp_path / 'train.csv'} repeats its header 1 time(s), line 42 first: skipped."
