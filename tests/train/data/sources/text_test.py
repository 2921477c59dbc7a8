"""Text files, plain or JSON lines, compressed or not: contents, memory, and error messages."""

import gzip
import json
import subprocess
import sys

import pytest

from train.data.sources import CorpusOptions, open_corpus
from train.errors import UserError


def read(pattern, **options):
    return list(open_corpus(CorpusOptions(source=f"text:{pattern}", **options), "train").documents())


def complaint(pattern, **options):
    with pytest.raises(UserError) as caught:
        read(pattern, **options)
    return str(caught.value)


def lines(*records):
    return "\n".join(json.dumps(record) for record in records).encode()


def test_text_reads_the_same_from_every_format(tmp_path):
    plain = b"One. Two.\nThree.\n\nF\xc3\xb6ur.\n"
    (tmp_path / "a.txt").write_bytes(plain)
    (tmp_path / "b.txt.gz").write_bytes(gzip.compress(plain))
    records = lines({"text": "One. Two.\nThree.", "id": 1}, {"text": "Föur."})
    (tmp_path / "c.jsonl").write_bytes(records)
    (tmp_path / "d.jsonl.gz").write_bytes(gzip.compress(records))
    assert read(f"{tmp_path}/*") == [["One.", "Two.", "Three."], ["Föur."]] * 4


def test_jsonl_accepts_lists_and_skips_empty_documents(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(
        b"\xef\xbb\xbf"
        + lines({"body": ["One. Two.", "Three."]}, {"body": ""}, {"body": None}, {"body": " \n\n "}, {"body": []})
        + b"\n\n  \r\n"
        + lines({"body": "\n\nLast\u0000one."})
    )
    assert read(f"{tmp_path}/a.jsonl", text_column="body") == [["One.", "Two.", "Three."], ["Last one."]]


def test_jsonl_drops_the_marks_of_wiki40b(tmp_path):
    article = (
        "\n_START_ARTICLE_\nA Title\n_START_PARAGRAPH_\nIt begins._NEWLINE_It goes on. And on.\n"
        "_START_SECTION_\nA heading\n_START_PARAGRAPH_\nIt ends."
    )
    (tmp_path / "a.jsonl").write_bytes(lines({"text": article}, {"text": "_START_ARTICLE_ is a mark."}))
    expected = [["It begins.", "It goes on.", "And on.", "It ends."], ["_START_ARTICLE_ is a mark."]]
    assert read(f"{tmp_path}/a.jsonl") == expected


def test_inputs_distinguish_the_formats(tmp_path):
    """The same bytes are other documents with another file ending, which the hash of the contents does not show."""
    for name in ("a.txt", "a.jsonl"):
        (tmp_path / name).write_bytes(lines({"text": "One.", "body": "Two."}))
    corpora = [
        open_corpus(CorpusOptions(source=f"text:{tmp_path}/{name}", text_column=column), "train")
        for name, column in (("a.txt", "text"), ("a.txt", "body"), ("a.jsonl", "text"), ("a.jsonl", "body"))
    ]
    plain, other_column, json_lines, json_body = (corpus.inputs for corpus in corpora)
    assert plain == other_column
    assert len({str(inputs) for inputs in (plain, json_lines, json_body)}) == 3


@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz"])
def test_text_reads_long_lines_completely(tmp_path, name):
    """A line of several parts, split within words or characters of several bytes, is read without loss."""
    words = [f"wörd{number}" for number in range(300_000)]
    content = "\n".join([" ".join(words), "", "ö" * 1_500_000, "end"]).encode()
    (tmp_path / name).write_bytes(gzip.compress(content, 1) if name.endswith("gz") else content)
    first, second = read(tmp_path / name)
    assert " ".join(first) == " ".join(words)
    assert "".join(second) == "ö" * 1_500_000 + "end"


def test_long_documents_are_split_between_paragraphs(tmp_path, monkeypatch):
    monkeypatch.setattr("train.data.sources.corpus._LONGEST_DOCUMENT", 20)
    (tmp_path / "a.txt").write_text("\n".join(["Ten chars."] * 5))
    assert read(tmp_path / "a.txt") == [["Ten chars."] * 2, ["Ten chars."] * 2, ["Ten chars."]]


def test_memory_does_not_grow_with_a_line(tmp_path):
    """12 MB on one line of text or JSON need little more memory than a document or a line.

    Without a maximum length of documents the text would need 52 MB.
    """
    sentence = "The quick brown fox jumps over the lazy dog. "
    count = 12_000_000 // len(sentence)
    (tmp_path / "a.txt").write_text(sentence * count)
    (tmp_path / "a.jsonl").write_text(json.dumps({"text": sentence * count}))
    script = """
import sys
from train.data.sources import CorpusOptions, corpus, open_corpus
corpus._LONGEST_DOCUMENT = 2**20
def peak():  # getrusage's would start at that of the parent process
    return int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0]) // 1024
before = peak()
documents = open_corpus(CorpusOptions(source=f"text:{sys.argv[1]}"), "train").documents()
print(sum(map(len, documents)), peak() - before)
"""
    grown = {}
    for name in ("a.txt", "a.jsonl"):
        done = subprocess.run(
            [sys.executable, "-c", script, str(tmp_path / name)], capture_output=True, text=True, check=True
        )
        found, grown[name] = map(int, done.stdout.split())
        assert abs(found - count) < 100  # one more sentence wherever a long one was split
    assert grown["a.txt"] < 38
    assert grown["a.jsonl"] < 95


@pytest.mark.parametrize(
    ("name", "content", "parts"),
    [
        ("a.txt", b"One.\n\nTw\xf6.", ["a.txt, line 3", "not UTF-8", "byte 2", "iconv"]),
        ("a.txt", b"x " * 700_000 + b"\xff", ["line 1", "byte 1400000 of the line"]),
        ("a.txt", b"One.\nTwo\0.", ["a.txt, line 2", "NUL at byte 3", "UTF-16"]),
        ("a.txt", "One.".encode("utf-16"), ["a.txt, line 1", "UTF-16"]),
        ("a.txt.gz", gzip.compress(b"One.\nTw\xf6."), ["a.txt.gz, line 2", "not UTF-8", "zcat", "a.utf8.txt"]),
        ("a.txt.gz", gzip.compress(b"One.\nTwo.\n" * 9999)[:-9], ["a.txt.gz", "truncated"]),
        ("a.txt.gz", b"One.", ["a.txt.gz", "gzip"]),
        ("a.txt.gz", gzip.compress(b"One.")[:10] + b"\xff" * 12, ["a.txt.gz", "cannot be read"]),
        ("a.jsonl", b'{"text": "One."}\n{"text": "Two}', ["a.jsonl, line 2", "not a JSON object", "column 10"]),
        ("a.jsonl", b'{"text": "One."}\n\n["Two."]', ["a.jsonl, line 3", "JSON list", "expected an object"]),
        ("a.jsonl", b"[" * 100_000, ["a.jsonl, line 1", "not a JSON object"]),
        ("a.jsonl", b'{"text": ' + b"9" * 9999 + b"}", ["a.jsonl, line 1"]),
        ("a.jsonl", b'{"text": 3}', ["a.jsonl, line 1", "type int", "expected text"]),
        ("a.jsonl", b'{"text": ["One.", {}]}', ["a.jsonl, line 1", "type dict"]),
        ("a.jsonl", b'{"body": "One.", "id": 1}', ["a.jsonl, line 1", "no column 'text'", "body, id", "text_column"]),
        ("a.jsonl", b'{"text": "\\ud800"}', ["a.jsonl, line 1", "not valid Unicode"]),
        ("a.jsonl", b'{"text": "\xff"}', ["a.jsonl, line 1", "not UTF-8", "byte 10"]),
        ("a.jsonl", b'{"text": "a\0"}', ["a.jsonl, line 1", "NUL at byte 11"]),
        ("a.jsonl.gz", gzip.compress(b'{"text": "One."}\n{')[:-8], ["a.jsonl.gz", "truncated"]),
        ("a.parquet", b"PAR1", ["a.parquet", "parquet:GLOB"]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_text_errors_name_file_line_and_cause(tmp_path, name, content, parts):
    (tmp_path / name).write_bytes(content)
    message = complaint(tmp_path / name)
    assert "\n" not in message
    for part in parts:
        assert part in message


def test_jsonl_raises_for_too_long_lines(tmp_path, monkeypatch):
    monkeypatch.setattr("train.data.sources.text._LONGEST_JSON_LINE_BYTES", 2**20)
    (tmp_path / "a.jsonl").write_bytes(lines({"text": "One."}, {"text": "x" * 2**20}))
    assert f"{tmp_path}/a.jsonl, line 2 is longer than 1 MiB" in complaint(tmp_path / "a.jsonl")


def test_text_error_names_a_later_missing_file(tmp_path):
    """Files are listed at the start, and one may be missing when it is read."""
    for name in ("a.txt", "b.txt.gz"):
        (tmp_path / name).write_bytes(b"One.\n")
    documents = open_corpus(CorpusOptions(source=f"text:{tmp_path}/*"), "train").documents()
    assert next(documents) == ["One."]
    (tmp_path / "b.txt.gz").unlink()
    with pytest.raises(UserError, match=r"b\.txt\.gz cannot be read: No such file"):
        list(documents)
