"""An evaluation needs only a file, or a directory with the evaluation file, for every task."""

import json

import pytest

from tests.conftest import REPOSITORY
from tests.train.commands import values_of
from tests.train.tasks.readers.glue_files import mnli, write
from train.errors import UserError
from train.tasks.opening import open_data

SWAG_HEAD = "video-id,sent1,sent2,gold-source,ending0,ending1,ending2,ending3,label\n"
XNLI_HEAD = "language\tgold_label\tsentence1\tsentence2\tpairID\n"


def table(rows, label="ab"):
    return "text,label\n" + "".join(f"words {n},{label[n % 2]}\n" for n in range(rows))


def squad(articles):
    def article(n):
        qa = {"id": str(n), "question": "which", "answers": [{"text": "b", "answer_start": 2}]}
        return {"title": str(n), "paragraphs": [{"context": "a b", "qas": [qa]}]}

    return json.dumps({"version": "1.1", "data": [article(n) for n in range(articles)]})


def race(folder):
    article = {"article": "text", "questions": ["q _", "r"], "options": [list("abcd")] * 2, "answers": ["A", "B"]}
    for level in ("middle", "high"):
        (folder / level).mkdir(parents=True)
        (folder / level / "1.txt").write_text(json.dumps(article))


def pairs(rows):
    return "sentence1,sentence2,score\n" + "".join(f"one {n},two {n},{n / 10}\n" for n in range(rows))


def entities(rows):
    return "a B-X\nb O\n\n" * rows


def swag(rows):
    return SWAG_HEAD + "".join(f"v,He goes,She,g,a,b,c,d,{n % 4}\n" for n in range(rows))


def xnli(rows):
    return XNLI_HEAD + "".join(f"en\tneutral\tone {n}\ttwo\t{n}\n" for n in range(rows))


def sst2(rows):
    return "sentence\tlabel\n" + "".join(f"words {n}\t{n % 2}\n" for n in range(rows))


def read(config, source, **changes):
    values = {**values_of(str(REPOSITORY / "configs" / config)), "data.source": f"files:{source}", **changes}
    return open_data(values, training=False)


TABLE = {"data.eval_fraction": 1.0}
# config, name of a held-out file, its content of a number of examples, and options.
FORMS = {
    "table": ("classify.py", "dev.csv", table, TABLE),
    "sentences": ("sentence.py", "dev.csv", pairs, TABLE),
    "entities": ("ner.py", "dev.conll", entities, {}),
    "glue": ("glue.py:sst2", "dev.tsv", sst2, {}),
    "squad": ("squad.py:v1", "dev-v1.1.json", squad, {}),
    "swag": ("multiple_choice.py:swag", "val.csv", swag, {}),
    "xnli": ("xnli.py", "xnli.dev.tsv", xnli, {}),
}


@pytest.mark.parametrize("alone", ["file", "directory"])
@pytest.mark.parametrize("form", FORMS)
def test_an_evaluation_file_is_scored_completely(form, alone, tmp_path):
    config, name, content, options = FORMS[form]
    path = tmp_path / name
    path.write_text(content(12), encoding="utf-8")
    data = read(config, path if alone == "file" else tmp_path, **options)
    assert {name: len(examples) for name, examples in data.evaluation.items()} == {"dev": 12}
    assert not data.train
    if data.kind == "tags":
        assert data.labels == ("O", "B-X")


# Of tasks whose test sets have labels, or may have them.
TESTS = {"table": "test.csv", "entities": "test.conll", "swag": "test.csv", "xnli": "xnli.test.tsv"}


@pytest.mark.parametrize("form", TESTS)
def test_a_test_file_is_scored_if_it_is_the_only_file(form, tmp_path):
    config, _, content, options = FORMS[form]
    (tmp_path / TESTS[form]).write_text(content(12), encoding="utf-8")
    data = read(config, tmp_path, **options)
    assert [len(data.evaluation["dev"]), len(data.test), len(data.train)] == [12, 0, 0]


TRAINING = {
    "table": "train.csv",
    "sentences": "train.csv",
    "entities": "train.conll",
    "glue": "train.tsv",
    "swag": "train.csv",
}


@pytest.mark.parametrize("form", TRAINING)
def test_the_evaluation_file_is_scored_if_there_is_a_training_file(form, tmp_path):
    config, name, content, options = FORMS[form]
    (tmp_path / name).write_text(content(12), encoding="utf-8")
    (tmp_path / TRAINING[form]).write_text(content(20), encoding="utf-8")
    data = read(config, tmp_path, **options)
    assert (len(data.evaluation["dev"]), len(data.train)) == (12, 20)


def test_the_held_out_share_of_a_training_file_is_scored(tmp_path):
    (tmp_path / "train.csv").write_text(table(200))
    data = read("classify.py", tmp_path)
    assert len(data.evaluation["dev"]) + len(data.train) == 200
    assert 5 < len(data.evaluation["dev"]) < 50
    (tmp_path / "train-v1.1.json").write_text(squad(12))
    assert len(read("squad.py:v1", tmp_path).evaluation["dev"]) == 2


@pytest.mark.parametrize(("name", "number"), [("dev-v1.1.json", 12), ("mine.json", 12)])
def test_eval_articles_limits_the_scored_articles_of_squad(name, number, tmp_path):
    path = tmp_path / name
    path.write_text(squad(12))
    assert len(read("squad.py:v1", path).evaluation["dev"]) == number
    assert len(read("squad.py:v1", path, **{"data.eval_articles": 3}).evaluation["dev"]) == 3


@pytest.mark.parametrize(("folders", "name"), [(("dev",), "dev"), (("test",), "test"), (("dev", "test"), "dev")])
def test_race_reads_the_existing_folders(folders, name, tmp_path):
    for folder in folders:
        race(tmp_path / folder)
    data = read("multiple_choice.py:race", tmp_path)
    assert len(data.evaluation["dev"]) == 4
    assert list(data.test) == [each for each in folders if each != name]


def test_glue_reads_the_existing_sets(tmp_path):
    write(tmp_path, dev_mismatched=mnli("neutral", "neutral"))
    assert {name: len(found) for name, found in read("glue.py:mnli", tmp_path).evaluation.items()} == {"mismatched": 2}
    alone = read("glue.py:mnli", tmp_path / "dev_mismatched.tsv").evaluation
    assert {name: len(found) for name, found in alone.items()} == {"mismatched": 2}


@pytest.mark.parametrize("config", ["classify.py", "ner.py", "glue.py:sst2", "squad.py:v1", "multiple_choice.py:race"])
def test_no_evaluation_data_raises(config, tmp_path):
    with pytest.raises(UserError, match=r"There is no|has neither"):
        read(config, tmp_path)
