"""Reading documents, splitting them into training and held-out text, and error messages."""

import gzip
import json
import os
import random
import types

import pytest

from train.data import builtin
from train.data.sources import CorpusOptions, open_corpus
from train.errors import UserError


def _read(split="train", **options):
    return list(open_corpus(CorpusOptions(**options), split).documents())


def _write(path, text):
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_text_has_a_sentence_per_line_and_a_blank_line_between_documents(tmp_path):
    _write(tmp_path / "b.txt", "Third one.\n")
    _write(tmp_path / "a.txt", "\n\nOne.\n  Two  words.  \n \t\n\n\nNext.")
    assert _read(source=f"text:{tmp_path}/*.txt") == [["One.", "Two words."], ["Next."], ["Third one."]]


def test_text_accepts_byte_order_marks_and_windows_line_ends(tmp_path):
    """Also letters outside ASCII."""
    path = _write(tmp_path / "a.txt", b"\xef\xbb\xbfOne.\r\n\r\nTw\xc3\xb6.\r\n")
    assert _read(source=f"text:{path}") == [["One."], ["Twö."]]


def test_text_finds_files_in_sorted_order_at_any_depth(tmp_path):
    (tmp_path / "sub" / "dir.txt").mkdir(parents=True)
    for name in ("z.txt", "sub/y.txt", "a.txt"):
        _write(tmp_path / name, name)
    corpus = open_corpus(CorpusOptions(source=f"text:{tmp_path}/**/*.txt"), "train")
    assert [path.name for path in corpus.files] == ["a.txt", "y.txt", "z.txt"]


def test_text_splits_paragraphs_by_default(tmp_path):
    path = _write(tmp_path / "a.txt", "It rained. We stayed. Why?\n")
    assert _read(source=f"text:{path}") == [["It rained.", "We stayed.", "Why?"]]
    assert _read(source=f"text:{path}", split_paragraphs=False) == [["It rained. We stayed. Why?"]]


def _numbered(path, numbers):
    return _write(path, "\n\n".join(f"All begin alike.\nThis is number {number}." for number in numbers))


def test_held_out_documents_do_not_depend_on_their_files(tmp_path):
    """The same documents are held out, whatever their order and files, and equal documents are in the same split."""
    numbers = list(range(4000))
    _numbered(tmp_path / "whole.txt", numbers)
    options = {"eval_fraction": 0.1}
    held_out = _read("heldout", source=f"text:{tmp_path}/whole.txt", **options)
    training = _read("train", source=f"text:{tmp_path}/whole.txt", **options)
    random.Random(0).shuffle(numbers)
    (tmp_path / "parts").mkdir()
    for part in range(4):
        _numbered(tmp_path / "parts" / f"{part}.txt", numbers[part::4] + numbers[part::4][:50])
    scattered = _read("heldout", source=f"text:{tmp_path}/parts/*.txt", **options)
    assert set(map(tuple, scattered)) == set(map(tuple, held_out))
    assert not set(map(tuple, training)) & set(map(tuple, held_out))
    assert len(training) + len(held_out) == 4000
    assert abs(len(held_out) - 400) < 4.5 * (4000 * 0.1 * 0.9) ** 0.5


def test_held_out_documents_of_a_larger_share_contain_those_of_a_smaller(tmp_path):
    source = f"text:{_numbered(tmp_path / 'a.txt', range(1000))}"
    small, large = (_read("heldout", source=source, eval_fraction=share) for share in (0.05, 0.2))
    assert set(map(tuple, small)) < set(map(tuple, large))


def test_eval_source_leaves_the_training_text_complete(tmp_path):
    train, held_out = (
        _numbered(tmp_path / name, numbers) for name, numbers in (("t", range(20)), ("e", range(20, 25)))
    )
    options = {"source": f"text:{train}", "eval_source": f"text:{held_out}", "eval_fraction": 0.5}
    assert len(_read("train", **options)) == 20
    assert len(_read("heldout", **options)) == 5


def test_builtin_uses_the_splits_of_its_generator(monkeypatch):
    calls = []

    def generate_corpus(seed, split, num_documents):
        calls.append((seed, split, num_documents))
        return (types.SimpleNamespace(sentences=(f"{split} {index}.",)) for index in range(num_documents))

    monkeypatch.setattr(builtin, "generate_corpus", generate_corpus)
    options = CorpusOptions(
        source="builtin", eval_fraction=0.5, builtin_documents=3, builtin_eval_documents=2, builtin_seed=7
    )
    assert list(open_corpus(options, "train").documents()) == [["train 0."], ["train 1."], ["train 2."]]
    assert list(open_corpus(options, "heldout").documents()) == [["heldout 0."], ["heldout 1."]]
    assert calls == [(7, "train", 3), (7, "heldout", 2)]
    assert [file.hash for file in open_corpus(options, "train").files] == list(builtin.TEXT)
    assert open_corpus(options, "train").inputs != open_corpus(options, "heldout").inputs


def test_builtin_generates_real_documents():
    options = CorpusOptions(source="builtin", builtin_documents=5, builtin_eval_documents=4)
    training, held_out = (list(open_corpus(options, split).documents()) for split in ("train", "heldout"))
    assert (len(training), len(held_out)) == (5, 4)
    assert all(isinstance(sentence, str) and sentence for document in training + held_out for sentence in document)
    assert training[:4] != held_out
    assert open_corpus(options, "train").files


def test_held_out_documents_are_the_same_in_every_form(tmp_path):
    """The hash of a document depends only on its words, so that a document in two sources is held out of both."""
    documents = [f"All begin alike.\nThis  is number {number}. It ends." for number in range(400)]
    _write(tmp_path / "a.txt", "\n\n".join(documents))
    _write(tmp_path / "b.jsonl", "\n".join(json.dumps({"text": text.replace("\n", " ")}) for text in documents))
    held_out = [
        {" ".join(" ".join(document).split()) for document in _read("heldout", source=f"text:{path}", **options)}
        for path in sorted(tmp_path.iterdir())
        for options in ({"eval_fraction": 0.2}, {"eval_fraction": 0.2, "split_paragraphs": False})
    ]
    assert 40 < len(held_out[0]) < 120
    assert all(other == held_out[0] for other in held_out)


def test_eval_source_may_be_of_another_kind(tmp_path):
    train = _numbered(tmp_path / "t.txt", range(20))
    _write(tmp_path / "e.jsonl", '{"text": "One."}\n{"text": "Two."}')
    options = {"source": f"text:{train}", "eval_source": f"text:{tmp_path}/e.jsonl"}
    assert _read("heldout", **options) == [["One."], ["Two."]]
    assert len(_read("train", **options)) == 20


@pytest.mark.parametrize("split_paragraphs", [True, False])
def test_training_text_excludes_documents_of_eval_source(tmp_path, split_paragraphs):
    """Equal documents are never in both splits, whatever their file, format or lines; documents that only share a
    sentence or a beginning may be."""
    train = _write(tmp_path / "t.txt", "One. Two.\n\nOne.\n\nThree.\nFour.\n\nOne.\nTwo.\n\nOne. Two. Three.\n")
    held_out = _write(
        tmp_path / "e.jsonl", '{"text": "One.\\nTwo."}\n{"text": ["Three. ", "Four."]}\n{"text": "Five."}'
    )
    options = {"source": f"text:{train}", "eval_source": f"text:{held_out}", "split_paragraphs": split_paragraphs}
    assert [" ".join(document) for document in _read("train", **options)] == ["One.", "One. Two. Three."]
    assert len(_read("heldout", **options)) == 3
    parts = {"source": "builtin", "mixture": ((f"text:{train}", 1.0),), "eval_source": f"text:{held_out}"}
    assert len(_read("train", **parts)) == 2


def test_training_inputs_include_the_excluded_documents(tmp_path):
    """A corpus without some documents has another cache key."""
    source = f"text:{_numbered(tmp_path / 'a', range(9))}"
    evals = [f"text:{_numbered(tmp_path / name, numbers)}" for name, numbers in (("b", [1]), ("c", [2]))]
    options = [CorpusOptions(source=source, eval_source=held_out) for held_out in (None, *evals)]
    corpora = [open_corpus(option, "train") for option in options[1:]] + [open_corpus(options[0], "train")]
    assert corpora[0].inputs != corpora[2].inputs
    assert [path.name for path in corpora[0].files] == ["a", "b"]
    assert [path.name for path in corpora[1].files] == ["a", "c"]


def test_training_text_that_is_held_out_completely_raises(tmp_path):
    numbers = range(3)
    options = {name: f"text:{_numbered(tmp_path / name, numbers)}" for name in ("source", "eval_source")}
    with pytest.raises(UserError, match=r"Documents of data\.eval_source are excluded"):
        _read("train", **options)


def test_size_is_about_the_number_of_characters(tmp_path):
    """It is known without reading if files are not compressed, also for a share."""
    source = f"text:{_numbered(tmp_path / 'a.txt', range(2000))}"
    corpus = open_corpus(CorpusOptions(source=source), "train")
    characters = sum(len(line) for document in corpus.paragraphs() for line in document)
    assert characters < corpus.size < 1.1 * characters
    tenth = open_corpus(CorpusOptions(source=source, eval_fraction=0.1), "heldout")
    assert tenth.size == pytest.approx(corpus.size / 10)
    with gzip.open(tmp_path / "b.txt.gz", "wt") as file:
        file.write("Some text.")
    assert open_corpus(CorpusOptions(source=f"text:{tmp_path}/b.txt.gz"), "train").size is None


def test_paragraphs_are_split_into_sentences(tmp_path):
    path = _write(tmp_path / "a.txt", "It rained. We stayed.\nWhy?\n\nSo.\n")
    corpus = open_corpus(CorpusOptions(source=f"text:{path}"), "train")
    assert list(corpus.paragraphs()) == [["It rained. We stayed.", "Why?"], ["So."]]
    assert list(corpus.documents()) == [["It rained.", "We stayed.", "Why?"], ["So."]]


def test_corpus_can_be_read_again(tmp_path):
    corpus = open_corpus(CorpusOptions(source=f"text:{_numbered(tmp_path / 'a', range(9))}"), "train")
    assert list(corpus.documents()) == list(corpus.documents())


def test_inputs_determine_the_documents(tmp_path):
    """Only options that change this split count: an option of the other split does not."""
    source = f"text:{_numbered(tmp_path / 'a', range(9))}"
    base = open_corpus(CorpusOptions(source=source), "train").inputs
    assert base == open_corpus(CorpusOptions(source=source, builtin_seed=3), "train").inputs
    assert base != open_corpus(CorpusOptions(source=source, eval_fraction=0.1), "train").inputs
    assert base != open_corpus(CorpusOptions(source=source, split_paragraphs=False), "train").inputs
    assert base == open_corpus(CorpusOptions(source="builtin", eval_source=source), "heldout").inputs


@pytest.mark.parametrize(
    ("split", "options", "parts"),
    [
        ("train", {"source": "txt:a"}, ["'txt:a'", "'builtin'", "'text:GLOB'"]),
        ("train", {"source": "corpus/*.txt"}, ["'corpus/*.txt'", "'text:GLOB'"]),
        ("train", {"source": "text:"}, ["'text:'", "'text:GLOB'"]),
        ("train", {"source": "text"}, ["'text'", "'text:GLOB'"]),
        ("train", {"source": "builtin:3"}, ["'builtin:3'", "'builtin'"]),
        ("train", {"source": "parquett:a"}, ["'parquett:a'", "'builtin'", "'parquet:GLOB'", "'tfds:NAME"]),
        ("train", {"source": "text:nowhere/*.txt"}, ["text:nowhere/*.txt", os.getcwd()]),
        ("train", {"source": "text:{file}", "eval_fraction": 1.0}, ["data.eval_fraction=1.0"]),
        ("heldout", {"source": "text:{file}"}, ["text:{file}", "data.eval_source", "data.eval_fraction"]),
        ("heldout", {"source": "text:{file}", "eval_source": "text:{file}"}, ["both", "{file}"]),
        ("train", {"source": "text:{file}", "eval_source": "text:{file}"}, ["both", "{file}"]),
        ("heldout", {"source": "text:{file}", "eval_source": "text:nowhere"}, ["nowhere"]),
        ("train", {"source": "builtin", "builtin_documents": 0}, ["at least one", "got 0"]),
    ],
)
def test_open_corpus_errors_name_the_cause(split, options, parts, tmp_path):
    file = _numbered(tmp_path / "a.txt", range(3))
    options = {name: value.format(file=file) if isinstance(value, str) else value for name, value in options.items()}
    with pytest.raises(UserError) as caught:
        open_corpus(CorpusOptions(**options), split)
    for part in parts:
        assert part.format(file=file) in str(caught.value)


@pytest.mark.parametrize(
    ("content", "options", "parts"),
    [
        (b"", {}, ["holds no document", "blank line"]),
        (b"\n \n\n", {}, ["holds no document"]),
        (b"One.\n", {"eval_fraction": 1e-9}, ["heldout share of data.eval_fraction=1e-09", "data.eval_source"]),
        (b"One.\nTwo.\n\nGr\xfc\xdfe.\n", {"split": "train"}, ["line 4", "not UTF-8", "byte 2", "iconv"]),
    ],
)
def test_document_errors_name_the_cause(content, options, parts, tmp_path):
    path = _write(tmp_path / "a.txt", content)
    split = "heldout" if "eval_fraction" in options else "train"
    corpus = open_corpus(CorpusOptions(source=f"text:{path}", eval_fraction=options.get("eval_fraction", 0.0)), split)
    with pytest.raises(UserError) as caught:
        list(corpus.documents())
    for part in [str(path), *parts]:
        assert part in str(caught.value)


def test_a_missing_file_raises_when_it_is_read(tmp_path):
    path = _write(tmp_path / "a.txt", "One.")
    corpus = open_corpus(CorpusOptions(source=f"text:{path}"), "train")
    path.unlink()
    with pytest.raises(UserError, match=r"a\.txt cannot be read: No such file"):
        list(corpus.documents())
