"""Files read as rows: every format, and error messages for invalid files."""

import csv
import json

import pytest

from train.errors import UserError
from train.tasks.readers.tables import read_rows

# This codec adds no byte order mark: the only one is that in the text.
FORMS = ("utf-8", "utf-16-le", "utf-16-be")


def rows(path, columns=()):
    return [(row.line, row.fields) for row in read_rows(path, columns)]


def save(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_tsv_has_no_quotes_and_lines_end_only_at_newlines(tmp_path):
    path = save(tmp_path, "a.tsv", '\ufefftext\tlabel\r\n"open\u2028\x85\t1\r\n\n\rb"\t2\n')
    assert rows(path) == [(2, {"text": '"open\u2028\x85', "label": "1"}), (4, {"text": '\rb"', "label": "2"})]


def test_csv_round_trips_the_standard_writer(tmp_path):
    path = tmp_path / "a.csv"
    fields = [["text", "label"], ["two\nlines, and a comma", "1"], ['a "quote"', ""], ["ü", "3"]]
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(fields)
    assert rows(path) == [
        (line, dict(zip(fields[0], row, strict=True))) for line, row in zip((2, 4, 5), fields[1:], strict=True)
    ]


def test_json_lines_keep_their_types(tmp_path):
    path = save(tmp_path, "a.jsonl", '{"text": "ü", "label": ["a", 1]}\n\n{"text": "b"}\n')
    assert rows(path) == [(1, {"text": "ü", "label": ["a", 1]}), (3, {"text": "b"})]


def test_columns_name_a_file_without_a_header(tmp_path):
    assert rows(save(tmp_path, "a.tsv", "1\tx\n0\ty"), ["label", "text"])[1] == (2, {"label": "0", "text": "y"})


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.tsv", "", "holds no row"),
        ("a.tsv", "text\tlabel\n", "holds no row"),
        ("a.csv", "\n\n", "holds no row"),
        ("a.jsonl", "\n", "holds no row"),
        ("a.tsv", "a\tb\n1\t2\n1\t2\t3\n", "line 3 has 3 field(s), expected 2: a, b. Fields are separated by tabs"),
        ("a.csv", 'a,b\n1,2\n"1,2\n3,4', "line 3 cannot be read as CSV"),
        ("a.csv", "a,b\n1,2\n1\n", "line 3 has 1 field(s), expected 2"),
        ("a.csv", "a,b\r1,2\r", "Convert its line ends"),
        ("a.csv", "a,b;c\n1,2;3\n", "the separator may be comma or semicolon"),
        ("a.tsv", "a\ta\n1\t2\n", "line 1: the header has a column twice"),
        ("a.tsv", b"a\tb\nok\t1\nna\xefve\t2\n", "line 3 is not UTF-8 text (invalid continuation byte at byte 2"),
        (
            "a.tsv",
            "a\tb\n1\t2\n".encode("utf-16-le"),
            "line 1 is not UTF-8 text (a NUL at byte 1 of the line). If it is",
        ),
        ("a.tsv", "a\tb\n1\t2\n".encode("utf-16") + b"\0", "byte order mark of UTF-16, but is not UTF-16 after line"),
        (
            "a.jsonl",
            '{"a": "b"}\n{"a": "so \\ud83d"}\n',
            "line 2 holds a lone surrogate (half a surrogate pair), '\\ud83d' after",
        ),
        ("a.tsv", b"a\tb\n\0\t2\n", "line 2 is not UTF-8 text (a NUL at byte 0"),
        ("a.jsonl", '{"a": 1}\n{"a": ', "line 2 is not JSON"),
        ("a.jsonl", "[1]\n", "line 1 holds a JSON list, expected one object"),
        ("a.jsonl", "[" * 100_000, "line 1 is not JSON"),
        ("a.xls", "x", "expected a file with the ending .tsv, .txt, .csv"),
    ],
)
def test_unreadable_files_raise(tmp_path, name, content, words):
    with pytest.raises(UserError) as caught:
        rows(save(tmp_path, name, content))
    assert words in str(caught.value)
    assert name in str(caught.value)


HEAD = {"text": "good, 1", "label": "p"}
PLAIN = "text,label\nx,p\n"


@pytest.mark.parametrize(
    ("name", "content", "options", "found"),
    [
        ("a.csv", "text;label\ngood, 1;p\n", {}, HEAD),
        ("a.csv", "text\tlabel\ngood, 1\tp\n", {}, HEAD),
        ("a.csv", "text|label\ngood, 1|p\n", {}, HEAD),
        ("a.csv", "sep=;\ntext;label\ngood, 1;p\n", {}, HEAD),
        ("a.csv", 'text;label\n"good; ""1""\n";p\n', {}, {"text": 'good; "1"\n', "label": "p"}),
        ("a.csv", "text,a;b\ngood,p\n", {"separator": "comma"}, {"text": "good", "a;b": "p"}),
        ("a.tsv", 'text\tlabel\n"a\tb"\tp\n', {"separator": "tab"}, {"text": "a\tb", "label": "p"}),
        ("a.txt", "text;label\ngood, 1;p\n", {"separator": "semicolon"}, HEAD),
        ("a.csv", 'text, label\n"good, 1", "p"\n', {}, HEAD),
        ("a.csv", 'text, label\n "good, 1", "p"\n', {}, HEAD),
        ("a.csv", "text,label\n good, p\n", {}, {"text": " good", "label": " p"}),
        ("a.csv", 'text,label\nhe said, "good"\n"a ""b""",p\n', {}, {"text": "he said", "label": "good"}),
        ("a.csv", 'label,text\np, "Great" movie\n', {}, {"label": "p", "text": ' "Great" movie'}),
        ("A.CSV", "text;label\ngood, 1;p\n", {}, HEAD),
        ("a.csv", "good, 1;p\n", {"columns": ["text", "label"], "separator": "semicolon"}, HEAD),
        ("a.csv", "good, but, so;p\nx;n\n", {"columns": ["text", "label"]}, {"text": "good, but, so", "label": "p"}),
        ("a.csv", "text,label\nx,p\n", {"columns": ["text", "label"]}, {"text": "x", "label": "p"}),
        *(("a.csv", f"\ufeff{PLAIN}".encode(form), {}, {"text": "x", "label": "p"}) for form in FORMS),
        *(("a.csv", PLAIN.encode(form), {}, {"text": "x", "label": "p"}) for form in ("utf-16", "utf-32")),
        ("a.tsv", "text\tlabel\r\nü\u2028\tp\r\n".encode("utf-16"), {}, {"text": "ü\u2028", "label": "p"}),
        ("a.jsonl", '\ufeff{"text": "x \\ud83d\\ude00"}', {}, {"text": "x 😀"}),
        ("a.csv", ",text,label\n0,x,p\n", {}, {"Unnamed: 0": "0", "text": "x", "label": "p"}),
        ("a.csv", "text,label,,\nx,p,,\n", {}, {"text": "x", "label": "p", "Unnamed: 2": "", "Unnamed: 3": ""}),
        ("a.csv", "text,label\nx,p,\n", {}, {"text": "x", "label": "p"}),
        ("a.tsv", "text\tlabel\nx\tp\t\t\n", {}, {"text": "x", "label": "p"}),
        ("a.csv", f"text,label\n{'word ' * 40_000},p\n", {}, {"text": "word " * 40_000, "label": "p"}),
    ],
)
def test_table_layouts_in_use_are_read(tmp_path, name, content, options, found):
    assert next(read_rows(save(tmp_path, name, content), **options)).fields == found


@pytest.mark.parametrize(
    ("content", "lines", "words"),
    [
        (PLAIN * 3, [2, 4, 6], "repeats its header 2 time(s), line 3 first: skipped"),
        (PLAIN + "\ufeff" + PLAIN, [2, 4], "repeats its header 1 time(s), line 3 first"),
        (PLAIN + "Text , LABEL\ny,p\n", [2, 4], "repeats its header 1 time(s), line 3 first"),
        ("label,text,,\np,a,,\nn,b, and, c\n", [2, 3], "text in columns without a name in 1 row(s), line 3 first"),
        (PLAIN, [2], None),
        (",text,label\n0,x,p\n", [2], None),
    ],
)
def test_skipped_rows_and_fields_are_noted(tmp_path, content, lines, words):
    notes = []
    path = save(tmp_path, "a.csv", content)
    assert [row.line for row in read_rows(path, notes=notes)] == lines
    assert len(notes) == (words is not None)
    assert all(words in note and "a.csv" in note for note in notes)


def test_missing_files_and_columns_of_json_raise(tmp_path):
    with pytest.raises(UserError, match=r"none\.tsv cannot be read: No such file"):
        rows(tmp_path / "none.tsv")
    with pytest.raises(UserError, match="name their columns"):
        rows(save(tmp_path, "a.jsonl", json.dumps({"a": 1})), ["a"])


def test_texts_keep_white_space_and_empty_texts_raise(tmp_path):
    row = next(read_rows(save(tmp_path, "a.jsonl", '{"text": " a ", "none": " ", "number": 3}')))
    assert row.text("text") == " a "
    assert (row.name("text"), row.name("number")) == ("a", "3")
    assert row.text("none", may_be_empty=True) == " "
    for column, words in {"none": "is empty", "number": "holds 3, expected a text", "txet": "nearest is text"}.items():
        with pytest.raises(UserError) as caught:
            row.text(column)
        assert words in str(caught.value)
        assert "a.jsonl, line 1" in str(caught.value)
