"""SQuAD's files: the questions read, the articles held out, and errors for invalid files."""

import copy
import json

import numpy as np
import pytest

from tests.train.data.sources.tfds_files import write_splits
from train.errors import UserError
from train.tasks.examples import Answer, SpanExample
from train.tasks.readers.squad import read_squad

CONTEXT = "The cat sat on the mat."
GOOD = {"id": "q", "question": "Who sat?", "answers": [{"text": "cat", "answer_start": 4}], "is_impossible": False}
NONE = {"id": "n", "question": "Who ran?", "answers": [], "is_impossible": True, "plausible_answers": []}


def content(*qas, articles=1):
    """Returns a file of some articles, each with these questions under different ids."""
    return {
        "version": "x",
        "data": [
            {
                "title": f"t{number}",
                "paragraphs": [{"context": CONTEXT, "qas": [{**qa, "id": f"{qa['id']}{number}"} for qa in qas]}],
            }
            for number in range(articles)
        ],
    }


def written(path, value):
    path.write_text(json.dumps(value))
    return str(path)


def ids(examples):
    return [example.id for example in examples]


def test_real_files_have_the_official_counts(shared_data):
    one = read_squad(str(shared_data / "qa" / "dev-v1.1.rebuilt.json"), "v1")
    two = read_squad(str(shared_data / "qa" / "dev-v2.0.rebuilt.json"), "v2", eval_articles=35)
    assert len(one.train) + len(one.evaluation["dev"]) == 10570
    held_out = {example.context for example in one.evaluation["dev"]}
    assert held_out
    assert not held_out & {example.context for example in one.train}
    assert len(two.evaluation["dev"]) == 11873
    assert not two.train
    assert sum(not example.answers for example in two.evaluation["dev"]) == 5945


def test_a_question_is_read_completely(tmp_path):
    data = read_squad(written(tmp_path / "x.json", content(GOOD, NONE)), "v2")
    first, second = data.evaluation["dev"]
    assert (first.id, first.question, first.context) == ("q0", "Who sat?", CONTEXT)
    assert first.answers == (Answer("cat", 4),)
    assert second.answers == ()
    assert data.kind == "spans"
    assert not data.train


def test_a_file_without_is_impossible_has_questions_without_answers(tmp_path):
    qas = [{key: value for key, value in qa.items() if key != "is_impossible"} for qa in (GOOD, NONE)]
    dev = read_squad(written(tmp_path / "x.json", content(*qas)), "v2").evaluation["dev"]
    assert [len(example.answers) for example in dev] == [1, 0]


@pytest.mark.parametrize(("articles", "asked", "held_out"), [(48, None, 8), (35, None, 5), (3, None, 1), (4, 4, 4)])
def test_the_last_articles_are_held_out(tmp_path, articles, asked, held_out):
    data = read_squad(written(tmp_path / "x.json", content(GOOD, articles=articles)), "v1", eval_articles=asked)
    assert data.full_sizes == {"dev": len(data.train) + len(data.evaluation["dev"])}
    everything = [f"q{number}" for number in range(articles)]
    assert ids(data.train) == everything[:-held_out]
    assert ids(data.evaluation["dev"]) == everything[-held_out:]


@pytest.mark.parametrize(("version", "number"), [("v1", "1.1"), ("v2", "2.0")])
def test_a_directory_has_an_evaluation_file(tmp_path, version, number):
    written(tmp_path / f"train-v{number}.json", content(GOOD, articles=5))
    written(tmp_path / f"dev-v{number}.json", content({**GOOD, "id": "d"}, articles=3))
    data = read_squad(str(tmp_path), version)
    assert ids(data.train) == ["q0", "q1", "q2", "q3", "q4"]
    assert ids(data.evaluation["dev"]) == ["d0", "d1", "d2"]
    with pytest.raises(UserError, match=f"data.eval_articles=2, but .*dev-v{number}.json"):
        read_squad(str(tmp_path), version, eval_articles=2)


def test_the_only_file_of_a_directory_is_split(tmp_path):
    written(tmp_path / "dev-v1.1.json", content(GOOD, articles=6))
    data = read_squad(str(tmp_path), "v1")
    assert (len(data.train), len(data.evaluation["dev"])) == (5, 1)
    with pytest.raises(UserError, match=r"neither train-v2\.0\.json nor dev-v2\.0\.json"):
        read_squad(str(tmp_path), "v2")


@pytest.mark.parametrize("identifier", [262, 0, -5, "q"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_ids_may_be_numbers_and_files_may_have_a_byte_order_mark(tmp_path, identifier, encoding):
    value = content(GOOD)
    value["data"][0]["paragraphs"][0]["qas"][0]["id"] = identifier
    (tmp_path / "x.json").write_text(json.dumps(value), encoding=encoding)
    assert ids(read_squad(str(tmp_path / "x.json"), "v2").evaluation["dev"]) == [str(identifier)]


@pytest.mark.parametrize(
    ("train", "dev"),
    [("train.json", "val.json"), ("covid-train.json", "covid-dev.json"), ("train-v1.1.json", "validation.json")],
)
def test_files_may_be_named_after_their_splits(tmp_path, train, dev):
    written(tmp_path / train, content(GOOD, articles=5))
    written(tmp_path / dev, content({**GOOD, "id": "d"}))
    assert ids(read_squad(str(tmp_path), "v1").evaluation["dev"]) == ["d0"]


def test_all_invalid_questions_are_one_error(tmp_path):
    qas = [GOOD, {**GOOD, "question": ""}, {**GOOD, "answers": "cat"}, GOOD]
    for number, qa in enumerate(qas):
        qas[number] = {**qa, "id": str(number)}
    with pytest.raises(UserError) as caught:
        read_squad(written(tmp_path / "x.json", content(*qas)), "v2")
    first, *shown = str(caught.value).splitlines()
    assert first == "2 errors:"
    assert ["question 2" in shown[0], "question 3" in shown[1], len(shown)] == [True, True, 2]
    qas = [{**GOOD, "id": str(number), "answers": [{"text": "dog", "answer_start": 4}]} for number in range(15)]
    with pytest.raises(UserError) as caught:
        read_squad(written(tmp_path / "x.json", content(*qas, articles=2)), "v2")
    first, *shown, more = str(caught.value).splitlines()
    assert (first, more) == ("15 errors:", "  and 5 more")
    assert all("the answer 'dog'" in line for line in shown)


@pytest.mark.parametrize("count", [0, -1, 4])
def test_eval_articles_has_to_be_within_the_number_of_articles(tmp_path, count):
    with pytest.raises(UserError, match="has 3 articles; give 1 to 3"):
        read_squad(written(tmp_path / "x.json", content(GOOD, articles=3)), "v1", eval_articles=count)


PARAGRAPH = ("data", 0, "paragraphs", 0)
QUESTION = (*PARAGRAPH, "qas", 0)
DROP = object()


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("data",), DROP, "has no 'data'; it has 'version'"),
        (("data",), {}, "'data' is an object, expected a list"),
        (("data",), [], "has no questions"),
        (("data", 0), "text", "article 1 is 'text', expected an object"),
        (("data", 0, "paragraphs"), DROP, "article 1 has no 'paragraphs'; it has 'title'"),
        ((*PARAGRAPH, "context"), 3, "article 1, paragraph 1: 'context' is 3, expected a text"),
        ((*PARAGRAPH, "context"), " \n", "'context' is empty"),
        ((*PARAGRAPH, "qas"), None, "'qas' is None, expected a list"),
        ((*PARAGRAPH, "qas"), [], "has no questions"),
        (QUESTION, [], "question 1 is a list, expected an object"),
        ((*QUESTION, "question"), " ", "question 1: 'question' is empty"),
        ((*QUESTION, "id"), 7.5, "question 1: 'id' is 7.5, expected a text"),
        ((*QUESTION, "id"), True, "question 1: 'id' is True, expected a text"),
        ((*QUESTION, "question"), "who \ud83d", "holds a lone surrogate"),
        ((*QUESTION, "answers"), DROP, "question 1 has no 'answers'"),
        ((*QUESTION, "answers"), [], "0 answers, but is_impossible is false"),
        ((*QUESTION, "is_impossible"), True, "1 answers, but is_impossible is true"),
        ((*QUESTION, "is_impossible"), "no", "'is_impossible' is 'no', expected true or false"),
        ((*QUESTION, "answers", 0), 1, "answer 1 is 1, expected an object"),
        ((*QUESTION, "answers", 0, "text"), "", "'text' is empty"),
        ((*QUESTION, "answers", 0, "answer_start"), True, "'answer_start' is True, expected a whole number"),
        ((*QUESTION, "answers", 0, "answer_start"), 99, "starts at character 99 of a context of 23"),
        ((*QUESTION, "answers", 0, "answer_start"), -1, "starts at character -1"),
    ],
)
def test_invalid_squad_files_raise(tmp_path, path, value, message):
    broken = copy.deepcopy(content(GOOD, NONE))
    place = broken
    for key in path[:-1]:
        place = place[key]
    if value is DROP:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    with pytest.raises(UserError) as caught:
        read_squad(written(tmp_path / "x.json", broken), "v2")
    assert message in str(caught.value)
    assert str(tmp_path / "x.json") in str(caught.value)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is not valid JSON"),
        (b"[1]", "holds a list, expected an object"),
        (b'{"data": [}', "is not valid JSON"),
        (b"\xff{}", "is not valid JSON"),
        (b'{"data": [], "data": []}', "'data' occurs twice"),
        (b'{"data":' + b"[" * 5000, "x.json"),
    ],
)
def test_invalid_json_raises(tmp_path, data, message):
    (tmp_path / "x.json").write_bytes(data)
    with pytest.raises(UserError, match=message):
        read_squad(str(tmp_path / "x.json"), "v1")


def test_a_missing_file_raises(tmp_path):
    with pytest.raises(UserError, match=r"x\.json cannot be read: No such file"):
        read_squad(str(tmp_path / "x.json"), "v1")


def test_a_question_without_answer_needs_version_2(tmp_path):
    with pytest.raises(UserError, match=r"question 2 has no answer.*read the file as v2"):
        read_squad(written(tmp_path / "x.json", content(GOOD, NONE)), "v1")


def test_ids_are_unique(tmp_path):
    value = content(GOOD, articles=3)
    value["data"][1]["paragraphs"][0]["qas"][0]["id"] = "q0"
    with pytest.raises(UserError, match="two questions with the id 'q0'"):
        read_squad(written(tmp_path / "x.json", value), "v1")


def test_a_training_answer_has_to_occur_in_its_context(tmp_path):
    wrong = {**GOOD, "answers": [{"text": "dog", "answer_start": 4}]}
    value = content(wrong, articles=2)
    with pytest.raises(UserError, match="the answer 'dog' to q0 is not in its context"):
        read_squad(written(tmp_path / "x.json", value), "v1")
    # In the evaluation set it is compared as text.
    assert read_squad(written(tmp_path / "x.json", value), "v1", eval_articles=2).evaluation["dev"]


def write_tfds(data_dir, splits):
    """Writes a data set in the layout of tfds:squad/v2.0: (id, answers) of each split."""
    tfds = pytest.importorskip("tensorflow_datasets")
    features = tfds.features
    texts = dict.fromkeys(("id", "title", "question", "context"), features.Text())
    answers = features.Sequence({"text": features.Text(), "answer_start": np.int32})
    layout = features.FeaturesDict({**texts, "answers": answers, "is_impossible": np.bool_})
    shared = {"title": "t", "question": "who?", "context": "the ü cat"}
    written = {
        split: [
            {**shared, "id": name, "answers": found, "is_impossible": not found} for name, found in questions.items()
        ]
        for split, questions in splits.items()
    }
    write_splits(data_dir, written, layout, name="squad", config="v2.0", shards=1)


CAT = {"text": "cat", "answer_start": 6}


def test_tfds_has_the_same_questions_as_the_file(tmp_path):
    write_tfds(tmp_path, {"train": {"a": [CAT], "b": []}, "validation": {"c": [CAT, CAT]}})
    data = read_squad("tfds:squad/v2.0", "v2", tfds_dir=str(tmp_path))
    answer = Answer("cat", 6)
    shared = {"question": "who?", "context": "the ü cat"}
    assert data.train == [SpanExample(id="a", answers=(answer,), **shared), SpanExample(id="b", answers=(), **shared)]
    assert data.evaluation == {"dev": [SpanExample(id="c", answers=(answer, answer), **shared)]}


@pytest.mark.parametrize(
    ("splits", "version", "articles", "message"),
    [
        ({"train": {"a": [CAT]}}, "v2", None, "no example of the split validation"),
        ({"train": {"a": [CAT]}, "validation": {"b": []}}, "v1", None, "validation, example 0 has no answer"),
        ({"train": {"a": [CAT]}, "validation": {"b": [CAT]}}, "v2", 3, "data.eval_articles=3"),
        ({"train": {"a": [CAT | {"text": "dog"}]}, "validation": {"b": [CAT]}}, "v2", None, "not in its context"),
    ],
)
def test_invalid_tfds_data_sets_raise(tmp_path, splits, version, articles, message):
    write_tfds(tmp_path, splits)
    with pytest.raises(UserError, match=message):
        read_squad("tfds:squad/v2.0", version, eval_articles=articles, tfds_dir=str(tmp_path))
