"""Tests of safe opening: special files and links out of the directory are refused, and sizes are limited."""

import ast
import os

import numpy as np
import pytest

from flax_lite.files import reading
from flax_lite.files.mapping import map_file
from flax_lite.files.reading import copy_file, is_there, read_bytes, read_consistently, read_text
from flax_lite.files.staging import staged_directory
from tests.flax_lite.files.special import SPECIAL

READERS = {
    "bytes": lambda path: read_bytes(path, 2**20),
    "text": lambda path: read_text(path, 2**20),
    "map": map_file,
    "copy": lambda path: copy_file(path, path.with_name("copy"), 2**20),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("what", SPECIAL)
def test_special_files_are_refused(what, reader, tmp_path):
    make, message = SPECIAL[what]
    path = tmp_path / "file"
    make(path)
    assert is_there(path)
    if (what, reader) == ("a process's memory", "map"):
        assert not len(map_file(path))  # the kernel reports a size of 0
        return
    with pytest.raises(ValueError, match=f"^{path} .*{message}"):
        READERS[reader](path)


@pytest.mark.parametrize("reader", READERS)
def test_missing_file_raises_file_not_found(reader, tmp_path):
    assert not is_there(tmp_path / "file")
    with pytest.raises(FileNotFoundError):
        READERS[reader](tmp_path / "file")


def test_regular_files_are_read(tmp_path):
    path = tmp_path / "file"
    for content in (b"", b"a\r\nb\n", "é\ufeff".encode(), bytes(3 * 2**20)):
        path.write_bytes(content)
        assert read_bytes(path, 2**23) == content
        assert read_text(path, 2**23) == content.decode()
        assert bytes(map_file(path)) == content
        copy_file(path, tmp_path / "copy", 2**23)
        assert (tmp_path / "copy").read_bytes() == content
    assert isinstance(map_file(path), np.memmap)


@pytest.mark.parametrize("size", [101, 10**12])
def test_size_is_limited(size, tmp_path):
    path = tmp_path / "file"
    with path.open("wb") as sparse:
        sparse.truncate(size)
    with pytest.raises(ValueError, match=f"file has {size} bytes, expected at most 100"):
        read_bytes(path, 100)
    path.write_bytes(bytes(100))
    assert len(read_bytes(path, 100)) == 100


@pytest.mark.parametrize("reported", [0, 50, 10**15])
def test_reported_size_is_only_a_hint(reported, tmp_path, monkeypatch):
    """Files in /proc report 0, and another process may append to a file."""
    path, fstat = tmp_path / "file", os.fstat
    path.write_bytes(bytes(200))

    def claim(descriptor):
        fields = list(fstat(descriptor))
        fields[6] = min(reported, 300)
        return os.stat_result(fields)

    monkeypatch.setattr(os, "fstat", claim)
    assert len(read_bytes(path, 300)) == 200
    if reported < 199:
        with pytest.raises(ValueError, match="has more than 199 bytes"):
            read_bytes(path, 199)


def test_files_of_proc_are_read_within_the_limit():
    assert b"Name:" in read_bytes("/proc/self/status", 2**16)
    with pytest.raises(ValueError, match="has more than 10 bytes"):
        read_bytes("/proc/self/status", 10)


MARKS = {"UTF-8": "utf-8-sig", "UTF-16": "utf-16"}


@pytest.mark.parametrize("named", MARKS)
def test_byte_order_mark_is_named(named, tmp_path):
    path = tmp_path / "vocab.txt"
    path.write_text("[PAD]\n", encoding=MARKS[named])
    with pytest.raises(ValueError, match=rf"vocab\.txt: it starts with a byte order mark \({named}\)"):
        read_text(path, 100)
    path.write_bytes(b"\xe9")
    with pytest.raises(ValueError, match=r"vocab\.txt: it is not UTF-8 text"):
        read_text(path, 100)


# Path of the link, its target, and whether the target counts as inside the directory.
LINKS = {
    "same directory": ("model/vocab.txt", "there.txt", True),
    "subdirectory": ("model/vocab.txt", "deep/there.txt", True),
    "a mounted volume": ("model/vocab.txt", "..data/there.txt", True),
    "absolute path": ("model/vocab.txt", "{root}/model/there.txt", True),
    "a blob of the hub's cache": ("models--a--b/snapshots/0123/vocab.txt", "../../blobs/there.txt", True),
    "a blob, from a subdirectory": (
        "models--a--b/snapshots/0123/1_Pooling/config.json",
        "../../../blobs/there.txt",
        True,
    ),
    "parent directory": ("model/vocab.txt", "../there.txt", False),
    "another directory": ("model/vocab.txt", "{root}/secrets/there.txt", False),
    "a directory with the same prefix": ("model/vocab.txt", "../model2/there.txt", False),
    "blobs without a snapshot": ("a/model/vocab.txt", "../blobs/there.txt", False),
    "blobs of another repository": ("a/snapshots/0123/vocab.txt", "../../../b/blobs/there.txt", False),
    "parent of the blobs": ("a/snapshots/0123/vocab.txt", "../../there.txt", False),
    "a system file": ("a/snapshots/0123/vocab.txt", "/etc/passwd", False),
}


@pytest.mark.parametrize("where", LINKS)
def test_links_stay_in_their_directory(where, tmp_path):
    name, target, inside = LINKS[where]
    link, target = tmp_path / name, target.format(root=tmp_path)
    link.parent.mkdir(parents=True)
    there = link.parent / target
    if not there.exists():
        there.parent.mkdir(parents=True, exist_ok=True)
        there.write_bytes(b"text")
    link.symlink_to(target)
    assert len(map_file(link))  # only numbers are read from a mapped file
    if inside:
        assert read_bytes(link, 100) == b"text"
        return
    for reader in ("bytes", "text", "copy"):
        with pytest.raises(ValueError, match=f"{link} is a link out of its directory, to .*by a copy"):
            READERS[reader](link)
    assert not link.with_name("copy").exists()


def test_blobs_directory_that_is_a_link_is_outside(tmp_path):
    snapshot = tmp_path / "a" / "snapshots" / "0123"
    snapshot.mkdir(parents=True)
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "key").write_text("secret")
    (tmp_path / "a" / "blobs").symlink_to("../secrets")
    (snapshot / "vocab.txt").symlink_to("../../blobs/key")
    with pytest.raises(ValueError, match="out of its directory"):
        read_bytes(snapshot / "vocab.txt", 100)


def test_directory_may_be_a_link(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "file").write_text("text")
    (tmp_path / "latest").symlink_to("model")
    assert read_bytes(tmp_path / "latest" / "file", 10) == b"text"


def save(directory, content):
    with staged_directory(directory) as stage:
        for name in ("config", "weights"):
            (stage / name).write_text(content)


@pytest.mark.parametrize("saves", [0, 1, 2, 5])
@pytest.mark.parametrize("absent", [False, True])
def test_all_files_are_read_from_one_version(saves, absent, tmp_path):
    """Another process saves between the reads of two files; the directory may be missing for a moment."""
    directory, left = tmp_path / "model", list(range(saves))
    save(directory, "first")

    def read():
        config = (directory / "config").read_text()
        if left:
            save(directory, f"save {left.pop()}")
            if absent:
                raise ValueError("a file is not there")
        return config, (directory / "weights").read_text()

    if saves >= 2:
        with pytest.raises(ValueError, match=f"{directory} was replaced by another process.*try again"):
            read_consistently(directory, read)
        return
    config, weights = read_consistently(directory, read)
    assert config == weights == ("save 0" if saves else "first")


def test_errors_without_a_replacement_are_raised_unchanged(tmp_path):
    def read():
        raise ValueError("no model")

    for path in (tmp_path, tmp_path / "absent", tmp_path / "file"):
        with pytest.raises(ValueError, match=r"^no model$"):
            read_consistently(path, read)


def test_reader_waits_for_the_second_rename(tmp_path, monkeypatch):
    """Between the two renames of a replacement no directory has the name."""
    new, old, target = (tmp_path / name for name in (".model.new-01234567", ".model.old-89abcdef", "model"))
    for each in (new, old):
        each.mkdir()
        (each / "file").write_text(each.name)
    monkeypatch.setattr(reading.time, "sleep", lambda _: new.rename(target))
    assert read_consistently(target, (target / "file").read_text) == new.name


@pytest.mark.parametrize("ends", [True, False])
def test_reader_waits_for_directories_that_are_kept(ends, tmp_path, monkeypatch):
    """Kept subdirectories are moved after the swap; if the writer was killed, the original error is raised."""
    target, old = tmp_path / "model", tmp_path / ".model.old-89abcdef"
    target.mkdir()
    (old / "1_Pooling").mkdir(parents=True)
    (old / "1_Pooling" / "config.json").write_text("{}")

    def follow(_):
        if ends and old.is_dir():
            (old / "1_Pooling").rename(target / "1_Pooling")
            old.rmdir()

    monkeypatch.setattr(reading.time, "sleep", follow)
    monkeypatch.setattr(reading, "_REPLACEMENT_SECONDS", 0.05)
    read = (target / "1_Pooling" / "config.json").read_text
    if ends:
        assert read_consistently(target, read) == "{}"
    else:
        with pytest.raises(FileNotFoundError, match="1_Pooling"):
            read_consistently(target, read)


# Calls that read files without this module, and the modules that may make them.
READING_CALLS = {
    *("open", "read_text", "read_bytes", "memmap", "fromfile", "load_file", "safe_open", "from_file"),
    *("copyfile", "copy2", "copytree", "copyfileobj", "getsize", "mmap"),
}
ALLOWED = {
    "files/reading.py": {"open"},
    "files/mapping.py": {"memmap"},
    # It opens files that it wrote itself, and copies kept ones where the file system has no hard links.
    "files/staging.py": {"open", "copy2"},
    # The library checks the header of a file that was opened safely before.
    "checkpoints/formats/safetensors_file.py": {"safe_open"},
    # Data files of the user, named one by one, and the null device.
    "files/lines.py": {"open"},
    "files/output.py": {"open"},
    # Input lines and output file, both named by the caller.
    "pipelines/records.py": {"open"},
    # Copies of tokenizer files that it made itself.
    "export.py": {"copyfile"},
}


def calls_that_read(tree):
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        of = getattr(getattr(node.func, "value", None), "id", "")
        modes = [each.value for each in node.args if isinstance(each, ast.Constant) and isinstance(each.value, str)]
        writes = name == "open" and any(mode in ("w", "wb", "x", "xb") for mode in modes)
        if name in READING_CALLS and of != "reading" and not writes and not is_safe(node):
            yield name


def is_safe(node):
    """Whether the call is `read_bytes(path, ...)` of this module, not `path.read_bytes()`."""
    return isinstance(node.func, ast.Name) and node.func.id in ("read_bytes", "read_text")


def test_other_modules_read_files_through_this_one(repository):
    library = repository / "flax_lite"
    found = {}
    for file in library.rglob("*.py"):
        name = file.relative_to(library).as_posix()
        if others := set(calls_that_read(ast.parse(file.read_text()))) - ALLOWED.get(name, set()):
            found[name] = others
    assert found == {}
