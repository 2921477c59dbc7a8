"""Parquet files: column types, memory, and error messages."""

import subprocess
import sys

import pytest

from train.data.sources import CorpusOptions, open_corpus
from train.errors import UserError

pyarrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")


def write(path, columns, **options):
    parquet.write_table(pyarrow.table(columns), path, **options)
    return path


def read(pattern, **options):
    return list(open_corpus(CorpusOptions(source=f"parquet:{pattern}", **options), "train").documents())


def complaint(pattern, **options):
    with pytest.raises(UserError) as caught:
        read(pattern, **options)
    return str(caught.value)


TEXTS = ["One. Two.\nThree.", None, "", "Föur."]
SENTENCES = [["One. Two.", "Three."], None, [], ["", None, "Föur."]]


@pytest.mark.compat
@pytest.mark.parametrize(
    ("values", "form"),
    [
        (TEXTS, pyarrow.string()),
        (TEXTS, pyarrow.large_string()),
        (TEXTS, pyarrow.string_view()),
        (TEXTS, pyarrow.dictionary(pyarrow.int32(), pyarrow.string())),
        (SENTENCES, pyarrow.list_(pyarrow.string())),
        (SENTENCES, pyarrow.large_list(pyarrow.large_string())),
    ],
    ids=lambda value: "" if isinstance(value, list) else str(value),
)
def test_parquet_reads_texts_and_lists_of_texts(tmp_path, values, form):
    for name in ("a", "b"):
        write(tmp_path / f"{name}.parquet", {"id": range(4), "body": pyarrow.array(values, form)}, row_group_size=2)
    expected = [["One.", "Two.", "Three."], ["Föur."]]
    assert read(f"{tmp_path}/*.parquet", text_column="body") == expected * 2


def test_parquet_size_is_about_the_number_of_characters(tmp_path):
    texts = [f"This is document number {number}." for number in range(5000)]
    write(tmp_path / "a.parquet", {"id": range(5000), "text": texts}, use_dictionary=False)
    corpus = open_corpus(CorpusOptions(source=f"parquet:{tmp_path}/*"), "train")
    assert sum(map(len, texts)) < corpus.size < 1.3 * sum(map(len, texts))
    (tmp_path / "b.parquet").write_bytes(b"no parquet")
    assert open_corpus(CorpusOptions(source=f"parquet:{tmp_path}/*"), "train").size is None


def test_parquet_reads_many_rows_in_order(tmp_path):
    write(tmp_path / "a.parquet", {"text": [f"Number {row}." for row in range(1000)]}, row_group_size=300)
    assert read(tmp_path / "a.parquet") == [[f"Number {row}."] for row in range(1000)]


def test_parquet_holds_out_documents(tmp_path):
    write(tmp_path / "a.parquet", {"text": [f"Number {row}." for row in range(1000)]})
    options = CorpusOptions(source=f"parquet:{tmp_path}/a.parquet", eval_fraction=0.2)
    training, held_out = (list(open_corpus(options, split).documents()) for split in ("train", "heldout"))
    assert sorted(training + held_out) == sorted([f"Number {row}."] for row in range(1000))
    assert 140 < len(held_out) < 260


def test_memory_does_not_grow_with_a_row_group(tmp_path):
    """A row group of 200 MB needs 90 MB; 240 MB without a buffer, 500 MB if decoded at once."""
    rows = [f"The quick brown fox jumps over the lazy dog, {row}. " * 400 for row in range(10_000)]
    path = write(
        tmp_path / "a.parquet", {"text": rows}, row_group_size=10_000, use_dictionary=False, compression="none"
    )
    script = """
import sys
import pyarrow.parquet
from train.data.sources import CorpusOptions, open_corpus
def peak():  # getrusage's would start at that of the parent process
    return int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0]) // 1024
before = peak()
documents = open_corpus(CorpusOptions(source=f"parquet:{sys.argv[1]}", split_paragraphs=False), "train").documents()
print(sum(1 for _ in documents), peak() - before)
"""
    done = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True)
    count, grown = map(int, done.stdout.split())
    assert count == 10_000
    assert grown < 130


def test_parquet_errors_name_file_and_column(tmp_path):
    columns = {"title": ["A"], "id": [1], "parts": [["a"]]}
    path = write(tmp_path / "a.parquet", columns)
    message = complaint(path)
    for part in (str(path), "no column 'text'", "title, id, parts", "--config.data.text_column="):
        assert part in message
    message = complaint(path, text_column="id")
    for part in (str(path), "'id'", "int64", "title, parts"):
        assert part in message
    assert "no column 'titel'" in complaint(path, text_column="titel")
    assert "No file matches 'parquet:" in complaint(tmp_path / "*.arrow")


def test_parquet_error_names_the_row_of_invalid_unicode(tmp_path):
    binary = pyarrow.array([b"One.", b"Two\xff."], pyarrow.binary())
    path = write(tmp_path / "a.parquet", {"text": binary.view(pyarrow.string())})
    assert f"{path}, row 1: the text is not UTF-8" in complaint(path)


@pytest.mark.parametrize("damage", [lambda content: b"", lambda content: b"text", lambda content: content[:-20]])
def test_parquet_error_names_a_damaged_file(tmp_path, damage):
    path = write(tmp_path / "a.parquet", {"text": [f"Number {row}." for row in range(1000)]})
    path.write_bytes(damage(path.read_bytes()))
    assert f"{path} cannot be read (at row 0)" in complaint(path)


def test_parquet_error_names_a_file_with_a_damaged_page(tmp_path):
    path = write(tmp_path / "a.parquet", {"text": [f"Number {row}." * 99 for row in range(1000)]})
    content = bytearray(path.read_bytes())
    content[50:4000] = b"\xff" * 3950
    path.write_bytes(content)
    assert str(path) in complaint(path)


def test_parquet_error_names_a_later_missing_file(tmp_path):
    for name in ("a", "b"):
        write(tmp_path / f"{name}.parquet", {"text": ["One."]})
    documents = open_corpus(CorpusOptions(source=f"parquet:{tmp_path}/*"), "train").documents()
    assert next(documents) == ["One."]
    (tmp_path / "b.parquet").unlink()
    with pytest.raises(UserError, match=r"b\.parquet cannot be read"):
        list(documents)


def test_parquet_names_the_package_that_is_missing(tmp_path, monkeypatch):
    path = write(tmp_path / "a.parquet", {"text": ["One."]})
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    message = complaint(path)
    assert "pyarrow" in message
    assert "pip install -e '.[parquet]'" in message
