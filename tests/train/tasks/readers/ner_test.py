"""Words and tags: real files, column layouts, IOB1 converted to BIO, and errors for invalid files."""

import itertools
import json
import shutil

import pytest
from seqeval.metrics.sequence_labeling import get_entities

from tests.train.data.sources.tfds_files import write_splits
from train.errors import UserError
from train.tasks.readers.label_names import KnownLabels
from train.tasks.readers.ner import read_ner, to_bio


def test_wnut17_is_read_completely(shared_data):
    folder = shared_data / "ner" / "WNUT17"
    data = read_ner(f"files:{folder}")
    # Numbers of sentences, words and words that start an entity, counted with awk.
    counts = {"train": (3394, 62730, 1975), "dev": (1009, 15733, 836), "test": (1287, 23394, 1079)}
    names = {"train": "wnut17train.conll", "dev": "emerging.dev.conll", "test": "emerging.test.annotated"}
    sets = {"train": data.train, "dev": data.evaluation["dev"], "test": data.test["test"]}
    for name, examples in sets.items():
        tags = [data.labels[tag] for e in examples for tag in e.tags]
        assert (len(examples), len(tags), sum(tag[0] == "B" for tag in tags)) == counts[name]
        lines = (folder / names[name]).read_text(encoding="utf-8").split("\n")
        assert [line.split("\t") for line in lines if line.strip()] == [
            [word, tag] for word, tag in zip([word for e in examples for word in e.words], tags, strict=True)
        ]
    types = ("corporation", "creative-work", "group", "location", "person", "product")
    assert data.labels == ("O", *(f"B-{kind}" for kind in types), *(f"I-{kind}" for kind in types))


def test_fixture_of_json_lines_is_read(shared_data, tmp_path):
    source = shared_data / "hf_fixtures" / "tests_samples" / "conll" / "sample.json"
    for name in ("train.json", "validation.jsonl"):
        shutil.copy(source, tmp_path / name)
    data = read_ner(f"files:{tmp_path}")
    objects = [json.loads(line) for line in source.read_text().splitlines()]
    assert [list(e.words) for e in data.train] == [one["words"] for one in objects]
    assert [[data.labels[tag] for tag in e.tags] for e in data.evaluation["dev"]] == [one["ner"] for one in objects]


CONLL = """-DOCSTART- -X- -X- O

EU NNP I-NP I-ORG
rejects VBZ I-VP O
Peter NNP I-NP I-PER
Blackburn NNP I-NP I-PER
Ann NNP I-NP B-PER

-DOCSTART- -X- -X- O
No\u00a0break NN I-NP I-LOC
"""


def test_conll_2003_is_converted_to_bio(tmp_path):
    for name in ("eng.train", "eng.testa", "eng.testb"):
        (tmp_path / name).write_text(CONLL, encoding="utf-8")
    data = read_ner(f"files:{tmp_path}")
    assert [e.words for e in data.train] == [("EU", "rejects", "Peter", "Blackburn", "Ann"), ("No\u00a0break",)]
    assert data.labels == ("O", "B-LOC", "B-ORG", "B-PER", "I-PER")
    assert [[data.labels[tag] for tag in e.tags] for e in data.test["test"]] == [
        ["B-ORG", "O", "B-PER", "I-PER", "B-PER"],
        ["B-LOC"],
    ]
    chunks = read_ner(f"files:{tmp_path}", tag_column=2)
    assert [chunks.labels[tag] for tag in chunks.train[0].tags] == ["B-NP", "B-VP", "B-NP", "I-NP", "I-NP"]


def test_every_short_sequence_keeps_its_entities():
    """seqeval, which has conlleval's rule, finds the same entities before and after; BIO does not change."""
    for tags in itertools.product(["O", "B-A", "I-A", "B-B", "I-B"], repeat=4):
        found = to_bio(tags, "here")
        assert get_entities(list(found)) == get_entities(list(tags))
        assert to_bio(found, "here") == found
        assert all(tag[0] != "I" or before[1:] == tag[1:] for before, tag in itertools.pairwise(("O", *found))), found


def test_test_set_may_have_no_tags(tmp_path):
    for name, text in {"train.txt": "a O\nb B-X\n", "valid.txt": "a O\n", "test.txt": "a\nb\n\nc\n"}.items():
        (tmp_path / name).write_text(text)
    assert [(e.words, e.tags) for e in read_ner(f"files:{tmp_path}").test["test"]] == [
        (("a", "b"), None),
        (("c",), None),
    ]


def test_indices_are_of_given_labels(tmp_path):
    for name in ("train.jsonl", "dev.jsonl"):
        (tmp_path / name).write_text(json.dumps({"tokens": ["a", "b"], "ner_tags": [0, 2]}))
    data = read_ner(f"files:{tmp_path}", labels=["O", "B-Y", "B-X"])
    assert (data.labels, data.train[0].tags) == (("O", "B-Y", "B-X"), (0, 2))
    with pytest.raises(UserError, match="the tag 0 is an index, but 0 labels are given"):
        read_ner(f"files:{tmp_path}")


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"train.txt": "a O\n"}, "There is no evaluation file"),
        ({"train.txt": "a O\n", "train.conll": "a O\n", "dev.txt": "a O\n"}, "holds both train.conll and train.txt"),
        (
            {"train.txt": "a O\nb X O\n", "dev.txt": "a O\n"},
            "line 2 has 3 column(s), but the first line of the sentence has 2",
        ),
        ({"train.txt": "a O\nb S-X\n", "dev.txt": "a O\n"}, "the tag 'S-X' is neither O nor B-TYPE nor I-TYPE"),
        ({"train.txt": "a NN\n", "dev.txt": "a O\n"}, "the tag 'NN' is neither"),
        ({"train.txt": "a\n", "dev.txt": "a O\n"}, "train.txt, line 1: the sentence has no tags"),
        ({"train.txt": "\n\n", "dev.txt": "a O\n"}, "holds no sentence"),
        (
            {"train.txt": "a O\n", "dev.txt": "a O\n", "test.txt": "\nx O\na B-PER\n"},
            "test.txt, line 2: unknown label 'B-PER'. The tags are: O.",
        ),
        ({"train.jsonl": '{"tokens": ["a"], "ner_tags": []}', "dev.txt": "a O\n"}, "expected a list of 1 tags"),
        ({"train.jsonl": '{"words": "a b", "ner": []}', "dev.txt": "a O\n"}, "expected a list of words"),
        (
            {"train.jsonl": '{"words": ["a", 5], "ner": ["O", "O"]}', "dev.txt": "a O\n"},
            "word 2 of 2 is 5, expected a text",
        ),
        ({"train.txt": "a O\nb S-X\n\nc O\n\nd E-X\n", "dev.txt": "a O\n"}, "2 errors:"),
        ({"train.jsonl": '{"text": "a b"}', "dev.txt": "a O\n"}, "has no column 'tokens'"),
    ],
)
def test_invalid_files_raise(tmp_path, files, words):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(UserError) as caught:
        read_ner(f"files:{tmp_path}")
    assert words in str(caught.value)


GERMEVAL = "#\thttp://x\t[2009]\n1\tin\tO\tO\n2\tStuttgart\tB-LOC\tO\n\n#\thttp://y\t[2010]\n1\tBonn\tB-LOC\tB-ORG\n"
OUTER = [["in/O", "Stuttgart/B-LOC"], ["Bonn/B-LOC"]]
COLUMNS = {
    "index first, outer tags": (
        GERMEVAL,
        {"word_column": 1, "tag_column": 2},
        [["in/O", "Stuttgart/B-LOC"], ["Bonn/B-LOC"]],
    ),
    "index first, inner tags": (GERMEVAL, {"word_column": 1}, [["in/O", "Stuttgart/O"], ["Bonn/B-ORG"]]),
    "from the end": (GERMEVAL, {"word_column": -3, "tag_column": -2}, OUTER),
    "MultiCoNER": (
        "# id 5-a\tdomain=en\nBonn _ _ B-LOC\nis _ _ O\n\n# id 6\tdomain=en\na _ _ O\n",
        {},
        [["Bonn/B-LOC", "is/O"], ["a/O"]],
    ),
    "several comments": ("# newdoc\n# text = a O\na\tX\tO\n", {}, [["a/O"]]),
    "a comment that ends in a tag": ("# vitamin O\na O\n", {}, [["a/O"]]),
    "a # that is a word": ("# O\n1 B-MISC\n\n# O\n", {}, [["#/O", "1/B-MISC"], ["#/O"]]),
    "a # before tabs that is a word": ("#\tO\n#rust\tB-MISC\n# x\tO\n", {}, [["#/O", "#rust/B-MISC", "# x/O"]]),
    "trailing tabs": ("Bonn _ _ B-LOC\t\nis _ _ O \t\n", {}, [["Bonn/B-LOC", "is/O"]]),
    "tabs after tabs": ("Bonn\tX\tB-LOC\t\t\nNew York\tX\tO\n", {}, [["Bonn/B-LOC", "New York/O"]]),
    "empty words": ("Anna\tB-PER\n\tO\nlives\tO\n", {}, [["Anna/B-PER", "/O", "lives/O"]]),
    "a byte order mark": ("\ufeffAnna B-PER\n", {}, [["Anna/B-PER"]]),
    "numbers that are words": ("1\tO\n2\tO\n", {}, [["1/O", "2/O"]]),
    "numbers that count nothing": ("1 X O\n2 X O\n\n7 X O\n", {}, [["1/O", "2/O"], ["7/O"]]),
    "lines of white space": ("a O\n \t\nb O\n", {}, [["a/O"], ["b/O"]]),
}


@pytest.mark.parametrize(("text", "options", "sentences"), COLUMNS.values(), ids=list(COLUMNS))
def test_column_layouts_in_use_are_read(tmp_path, text, options, sentences):
    for name in ("NER-de-train.tsv", "NER-de-dev.tsv"):
        (tmp_path / name).write_text(text, encoding="utf-8")
    data = read_ner(f"files:{tmp_path}", **options)
    assert [
        [f"{word}/{data.labels[tag]}" for word, tag in zip(e.words, e.tags, strict=True)] for e in data.train
    ] == sentences


@pytest.mark.parametrize("text", ["1\tin\tO\tO\n2\ta\tO\tO\n\n1\tb\tO\tO\n", "0 a O\n1 b O\n", GERMEVAL])
def test_a_column_that_numbers_the_words_raises(tmp_path, text):
    for name in ("train.txt", "dev.txt"):
        (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=r"train.txt: the first column numbers the words.*data\.columns\.word=1"):
        read_ner(f"files:{tmp_path}")


LONG = [f"w{number}" for number in range(60)]


@pytest.mark.parametrize(
    ("rows", "sentences"),
    [
        ([(["a", " ", ""], ["O", "O", "B-X"])], [("a", " ", "")]),
        ([([*LONG, ""], ["O"] * 61)], [(*LONG, "")]),
        ([([""], ["O"]), ([], []), (["a"], ["B-X"])], [("",), ("a",)]),
    ],
)
def test_empty_words_keep_their_tags_and_empty_sentences_are_counted(tmp_path, rows, sentences):
    lines = [json.dumps({"tokens": words, "ner_tags": tags}) for words, tags in rows]
    for name in ("train.jsonl", "dev.jsonl"):
        (tmp_path / name).write_text("\n".join(lines))
    data = read_ner(f"files:{tmp_path}")
    assert [e.words for e in data.train] == sentences
    assert all(len(e.tags) == len(e.words) for e in data.train)
    assert [str(note).partition(" has ")[2] for note in data.notes] == (
        ["1 sentence(s) without words: skipped."] * 2 if len(rows) > len(sentences) else []
    )


@pytest.mark.parametrize(
    ("tags", "labels", "found"),
    [
        ([0, 2], ["O", "B-Y", "B-X"], (0, 2)),
        (["0", "2"], ["O", "B-Y", "B-X"], (0, 2)),
        (["O", "B-X"], ["O", "B-Y", "B-X"], (0, 2)),
        ([0, 3], ["O", "B-Y", "B-X"], "the tag 3 is an index, but 3 labels are given"),
        ([0, -1], ["O", "B-Y", "B-X"], "the tag -1 is an index"),
        (["0", "1"], [], "the tag 0 is an index, but 0 labels are given.*--config.data.labels=O,B-PER"),
        ([True, False], ["O", "B-X"], "the tag 'true' is neither O"),
        ([-1, -1], ["O", "B-X"], "the sentence has no tags"),
    ],
)
def test_integer_tags_are_indices_of_the_given_labels(tmp_path, tags, labels, found):
    for name in ("train.jsonl", "dev.jsonl"):
        (tmp_path / name).write_text(json.dumps({"tokens": ["a", "b"], "ner_tags": tags}))
    if isinstance(found, str):
        with pytest.raises(UserError, match=found):
            read_ner(f"files:{tmp_path}", labels=labels)
    else:
        assert read_ner(f"files:{tmp_path}", labels=labels).train[0].tags == found


@pytest.mark.parametrize("name", ["test.jsonl", "test.conll"])
def test_tags_of_a_test_set_may_be_unknown(tmp_path, name):
    for set_name in ("train.txt", "dev.txt"):
        (tmp_path / set_name).write_text("a _ _ O\n")
    text = "# id 1\na _ _ _\nb _ _ _\n" if name.endswith("conll") else '{"tokens": ["a", "b"], "ner_tags": [-1, -1]}'
    (tmp_path / name).write_text(text)
    assert [(e.words, e.tags) for e in read_ner(f"files:{tmp_path}").test["test"]] == [(("a", "b"), None)]


def test_tags_are_those_of_the_model(tmp_path):
    for name in ("train.txt", "dev.txt"):
        (tmp_path / name).write_text("a O\nb B-X\n")
    known = KnownLabels(("B-X", "I-X", "O"), "model")
    data = read_ner(f"files:{tmp_path}", known=known)
    assert (data.labels, data.train[0].tags) == (("B-X", "I-X", "O"), (2, 0))
    assert read_ner(f"files:{tmp_path}", known=KnownLabels(("O", "B-Y"), "model")).labels == ("O", "B-X")


def test_a_missing_column_raises(tmp_path):
    for name in ("train.txt", "dev.txt"):
        (tmp_path / name).write_text("a O\n")
    with pytest.raises(UserError, match="line 1 has 2 columns, but the tag is expected in column 3"):
        read_ner(f"files:{tmp_path}", tag_column=3)


def write_tfds(data_dir, splits, column="ner"):
    """Writes a data set in the layout of tfds:conll2003."""
    tfds = pytest.importorskip("tensorflow_datasets")
    features = tfds.features
    tags = features.Sequence(features.ClassLabel(names=["O", "B-PER", "I-PER"]))
    layout = features.FeaturesDict({"tokens": features.Sequence(features.Text()), column: tags})
    written = {
        split: [{"tokens": words, column: tags} for words, tags in sentences] for split, sentences in splits.items()
    }
    write_splits(data_dir, written, layout, name="conll2003", config="conll2003", shards=1)


@pytest.mark.parametrize(("dev", "column"), [("dev", "ner"), ("validation", "tags")])
def test_tfds_has_words_and_the_names_of_tags(tmp_path, dev, column):
    # The second sentence is in IOB1, the third is empty, as some of WikiANN.
    train = [(["Jürg", "ran"], [1, 0]), (["Ann", "Lee"], [2, 2]), ([], [])]
    write_tfds(tmp_path, {"train": train, dev: [(["he"], [0])], "test": [(["Ann"], [1])]}, column)
    data = read_ner("tfds:conll2003/conll2003", tfds_dir=str(tmp_path))
    assert data.labels == ("O", "B-PER", "I-PER")
    assert [(e.id, e.words, e.tags) for e in data.train] == [
        ("0", ("Jürg", "ran"), (1, 0)),
        ("1", ("Ann", "Lee"), (1, 2)),
    ]
    assert [e.words for e in data.evaluation["dev"]] == [("he",)]
    assert [e.tags for e in data.test["test"]] == [(1,)]


@pytest.mark.parametrize(
    ("splits", "column", "words"),
    [
        ({"train": [(["a"], [0])]}, "ner", ["tfds:conll2003", "dev"]),
        ({"train": [(["a"], [0])], "dev": [(["a"], [0])]}, "pos", ["has no tags", "ner_tags"]),
        ({"train": [(["a", "b"], [0])], "dev": [(["a"], [0])]}, "ner", ["train, example 0", "2 words and 1 tags"]),
    ],
)
def test_invalid_tfds_data_sets_raise(tmp_path, splits, column, words):
    write_tfds(tmp_path, splits, column)
    with pytest.raises(UserError) as caught:
        read_ner("tfds:conll2003/conll2003", tfds_dir=str(tmp_path))
    assert all(word in str(caught.value) for word in words), caught.value
