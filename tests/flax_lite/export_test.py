"""The export command as a user runs it, and the code in its README.md and in docs/export.md."""

import contextlib
import io
import json
import re
import shlex
import shutil

import pytest

from flax_lite import export
from flax_lite.architecture.registry import load_config
from tests.conftest import REPOSITORY
from tests.flax_lite import tiny
from tests.flax_lite.checkpoints import files
from tests.flax_lite.tokenization import tiny_files

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

DOCUMENT = (REPOSITORY / "docs" / "export.md").read_text()
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", DOCUMENT, re.DOTALL)
COMMANDS = [
    line
    for language, code in BLOCKS
    if language == "bash"
    for line in code.splitlines()
    if line.startswith("python -m flax_lite.")
]
SNIPPETS = [code for language, code in BLOCKS if language == "python"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A directory with a checkpoint `my_model`: a classifier with three labels, and a tokenizer."""
    folder = tmp_path_factory.mktemp("export")
    files.saved(folder / "my_model", "SequenceClassification", tiny.bert(num_hidden_layers=1, labels=("a", "b", "c")))
    shutil.copyfile(tiny_files.write_vocab(folder), folder / "my_model" / "vocab.txt")
    return folder


@pytest.fixture(scope="module")
def documented(folder):
    """The lines printed by the commands of docs/export.md, run one after the other."""
    assert len(COMMANDS) == 3
    printed = []
    for command in COMMANDS:
        python, option, module, *arguments = shlex.split(command)
        assert (python, option, module) == ("python", "-m", "flax_lite.export")
        out, err = io.StringIO(), io.StringIO()
        with contextlib.chdir(folder), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            assert (export.main(arguments), err.getvalue()) == (0, "")
        printed.append(out.getvalue())
    return printed


def test_commands_print_what_was_written_in_one_line(documented, folder):
    for command, printed in zip(COMMANDS, documented, strict=True):
        target = shlex.split(command)[4]
        assert len(printed.splitlines()) == 1
        assert printed.startswith(f"wrote {target}: ")
        for file in (folder / target).iterdir():
            assert f"{file.name} {file.stat().st_size / 1e3:,.1f} kB" in printed
    assert documented[0].startswith("wrote exported: stablehlo, text-classification, float32: README.md")


def test_export_keeps_config_and_tokenizer(documented, folder):
    """config.json is that of the model, and its architectures name the task for Hugging Face's tools."""
    for target in ("exported", "exported_onnx"):
        assert load_config(folder / target).labels == ("a", "b", "c")
        values = json.loads((folder / target / "config.json").read_text())
        assert values["architectures"] == ["BertForSequenceClassification"]
        assert (folder / target / "vocab.txt").read_bytes() == (folder / "my_model" / "vocab.txt").read_bytes()


@pytest.mark.parametrize("number", range(2))
def test_documented_code_runs(number, documented, folder, monkeypatch, capsys):
    assert len(SNIPPETS) == 2
    monkeypatch.chdir(folder)
    exec(SNIPPETS[number], {})
    assert capsys.readouterr() == ("logits (2, 3)\n", "")


@pytest.mark.parametrize("target", ["exported", "exported_onnx", "exported_fixed"])
def test_code_in_the_readme_of_an_export_runs(target, documented, folder, monkeypatch, capsys):
    """In the directory of the export; with fixed sizes, the code has these."""
    monkeypatch.chdir(folder / target)
    (code,) = re.findall(r"```python\n(.*?)```", (folder / target / "README.md").read_text(), re.DOTALL)
    exec(code, {})
    assert capsys.readouterr() == ("logits (8, 3)\n" if target == "exported_fixed" else "logits (2, 3)\n", "")


# Directory of an export, a replacement in its code, and the message with the bound.
OUT_OF_BOUNDS = [
    ("exported", "np.ones((2, 5)", "np.ones((2, 17)", " has 17 tokens in a row; the program takes 1 to 16"),
    ("exported", "np.ones((2, 5)", "np.ones((2, 0)", " has 0 tokens in a row; the program takes 1 to 16"),
    ("exported", "np.ones((2, 5)", "np.ones((0, 5)", " has 0 rows; the program takes 1 to any number"),
    ("exported", "np.ones((2, 5)", "41 * np.ones((2, 5)", "input_ids holds 41 to 41, expected 0 to 40"),
    ("exported", "np.zeros_like(ids)", "2 + ids", "token_type_ids holds 3 to 3, expected 0 to 1"),
    (
        "exported_fixed",
        "np.ones((8, 16)",
        "np.ones((8, 15)",
        " has 15 tokens in a row; the program takes 16 to 16",
    ),
    ("exported_fixed", "np.ones((8, 16)", "np.ones((2, 16)", " has 2 rows; the program takes 8 to 8"),
    ("exported", "run(weights, inputs)", "{'logits': np.array([1, np.nan])}", "logits has values that are not finite"),
    ("exported_onnx", "np.ones((2, 5)", "np.ones((2, 17)", "17 tokens in a row; the model takes at most 16"),
]


@pytest.mark.parametrize(("target", "old", "new", "message"), OUT_OF_BOUNDS)
def test_inputs_out_of_bounds_are_one_line(target, old, new, message, documented, folder, monkeypatch):
    """In the code of its README and of docs/export.md: the message has the bound and the given value."""
    monkeypatch.chdir(folder / target)
    (code,) = re.findall(r"```python\n(.*?)```", (folder / target / "README.md").read_text(), re.DOTALL)
    documents = [(folder / target, code)]
    if target != "exported_fixed":
        documents.append((folder, SNIPPETS[target == "exported_onnx"]))
    for directory, text in documents:
        monkeypatch.chdir(directory)
        assert text.count(old) == 1
        with pytest.raises(ValueError, match=re.escape(message)) as raised:
            exec(text.replace(old, new), {})
        assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nowhere/at/all", "two", "--to", "onnx"), "neither a directory nor a model id"),
        (("my_model", "two", "--to", "tflite"), "invalid choice: 'tflite'"),
        (("my_model", "two", "--to", "onnx", "--task", "fill-mask"), "cannot be exported for fill-mask"),
        (("my_model", "two", "--to", "onnx", "--task", "token-classification"), "no head for token-classification"),
        (("my_model", "two", "--to", "onnx", "--dtype", "bfloat16"), "ONNX is written in float32"),
        (("my_model", "two", "--to", "stablehlo", "--length", "17"), "length=17; expected 1 to"),
        (("my_model", "my_model", "--to", "stablehlo"), "my_model exists; name a directory that does not"),
    ],
)
def test_invalid_arguments_are_explained_and_write_nothing(arguments, message, folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    before = sorted(folder.rglob("*"))
    try:
        status = export.main(arguments)
    except SystemExit as stop:  # raised by argparse
        status = stop.code
    shown = capsys.readouterr()
    assert status == 2
    assert message in shown.err
    assert shown.out == ""
    assert sorted(folder.rglob("*")) == before


def test_interrupted_export_leaves_nothing(folder, tmp_path, monkeypatch):
    def fail(*_):
        raise RuntimeError("full")

    monkeypatch.setattr(export, "readme", fail)
    with pytest.raises(RuntimeError, match="full"):
        export.export(folder / "my_model", tmp_path / "out", "onnx")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("to", "dtype", "message"), [("tflite", "float32", "format 'tflite'"), ("onnx", "auto", "dtype 'auto'")]
)
def test_library_function_checks_its_arguments(to, dtype, message, folder, tmp_path):
    with pytest.raises(ValueError, match=f"{message}.*is not known"):
        export.export(folder / "my_model", tmp_path / "out", to, dtype=dtype)
