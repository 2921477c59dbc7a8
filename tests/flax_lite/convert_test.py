"""Tests of the commands convert and inspect, run like from a shell."""

import json
import runpy
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

import flax_lite as fl
from flax_lite import convert, export, inspect
from flax_lite.checkpoints.sentence_transformers import (
    SentenceLayout,
    read_sentence_transformers,
    write_sentence_transformers,
)
from flax_lite.checkpoints.sources import companions
from flax_lite.checkpoints.sources.resolve import open_source, sentence_transformers_layout
from flax_lite.files.names import TOKENIZER_FILES
from flax_lite.files.staging import staged_directory
from tests.flax_lite import tiny
from tests.flax_lite.checkpoints import files
from tests.flax_lite.pipelines import cases
from tests.flax_lite.tokenization import tiny_files

# Every family, and every shape of a head; pretrained_test.py loads every pair of family and head.
CHECKPOINTS = [
    ("albert", "PreTraining"),
    ("albert", "MultipleChoice"),
    ("bert", "Encoder"),
    ("bert", "QuestionAnswering"),
    ("distilbert", "SequenceClassification"),
]
# These take seconds each.
CHECKPOINTS += [pytest.param(*pair, marks=pytest.mark.slow) for pair in tiny.FAMILY_AND_HEAD if pair not in CHECKPOINTS]


@pytest.fixture
def command(monkeypatch, capsys):
    """Runs `python -m flax_lite.MODULE` in this process; returns its exit status and output."""

    def run(module, *arguments):
        monkeypatch.setattr(sys, "argv", [module, *map(str, arguments)])
        monkeypatch.delitem(sys.modules, f"flax_lite.{module}", raising=False)
        with pytest.raises(SystemExit) as done:
            runpy.run_module(f"flax_lite.{module}", run_name="__main__", alter_sys=True)
        return done.value.code, capsys.readouterr()

    return run


def load(head, directory):
    return tiny.MODELS[head].from_pretrained(directory)


@pytest.mark.parametrize(("family", "head"), CHECKPOINTS)
def test_convert_round_trip_keeps_every_bit(family, head, tmp_path):
    model = files.saved(tmp_path / "one", head, tiny.FAMILIES[family]())
    convert.convert(str(tmp_path / "one"), str(tmp_path / "two"), ("flax",))
    convert.convert(str(tmp_path / "two"), str(tmp_path / "three"), ("safetensors",))
    assert not (tmp_path / "two" / "model.safetensors").exists()
    files.assert_same_parameters(model, load(head, tmp_path / "two"))
    one, three = files.arrays(tmp_path / "one"), files.arrays(tmp_path / "three")
    assert one.keys() == three.keys()
    for name, array in one.items():
        assert array.dtype == three[name].dtype
        np.testing.assert_array_equal(array, three[name])
    assert json.loads((tmp_path / "one" / "config.json").read_text()) == json.loads(
        (tmp_path / "three" / "config.json").read_text()
    )


def test_convert_keeps_all_parts_of_a_checkpoint(tmp_path):
    """The released ALBERT has a masked-LM head and a pooler, no sentence head, and names a class without pooler.

    No task model has these parts."""
    files.saved(tmp_path / "one", "PreTraining", tiny.albert())
    files.edit(tmp_path / "one", lambda arrays: {k: v for k, v in arrays.items() if not k.startswith("sop")})
    files.edit_config(tmp_path / "one", architectures=["AlbertForMaskedLM"])
    lines = convert.convert(str(tmp_path / "one"), str(tmp_path / "two"), ("flax", "safetensors"))
    assert "heads: masked_lm_head, pooler" in lines[0]
    assert files.arrays(tmp_path / "one").keys() == files.arrays(tmp_path / "two").keys()


def test_convert_refuses_an_incomplete_part(tmp_path):
    files.saved(tmp_path / "one", "PreTraining", tiny.albert())
    files.edit(tmp_path / "one", lambda arrays: {k: v for k, v in arrays.items() if k != "albert.pooler.bias"})
    with pytest.raises(ValueError, match=r"missing from the file:\n  encoder/pooler/bias"):
        convert.convert(str(tmp_path / "one"), str(tmp_path / "two"), ("flax",))
    assert not (tmp_path / "two").exists()


def test_convert_dtype(tmp_path):
    files.saved(tmp_path / "one", "MaskedLM", tiny.bert())
    convert.convert(str(tmp_path / "one"), str(tmp_path / "two"), ("safetensors",), dtype="float16")
    convert.convert(str(tmp_path / "two"), str(tmp_path / "three"), ("safetensors",))
    one, three = files.arrays(tmp_path / "one"), files.arrays(tmp_path / "three")
    for name, array in one.items():
        assert three[name].dtype == np.float16
        np.testing.assert_array_equal(array.astype(np.float16), three[name])


def test_convert_makes_an_albert_deeper(tmp_path):
    """The same parameters are applied more often, as by a config with the larger depth."""
    config = tiny.albert(num_hidden_layers=2)
    model = files.saved(tmp_path / "one", "Encoder", config)
    convert.convert(str(tmp_path / "one"), str(tmp_path / "two"), ("flax",), num_hidden_layers=5)
    deeper = load("Encoder", tmp_path / "two")
    assert deeper.config.num_hidden_layers == 5
    files.assert_same_parameters(model, deeper)
    ids = tiny.token_ids(config)
    same = tiny.MODELS["Encoder"].from_pretrained(tmp_path / "one", num_hidden_layers=5)
    shallow, deep, expected = (np.asarray(tiny.call(each, ids).last_hidden_state) for each in (model, deeper, same))
    np.testing.assert_array_equal(deep, expected)
    assert np.abs(shallow - deep).max() > 1e-3


@pytest.mark.parametrize(("given", "layers"), [("0,2", [0, 2]), ("1,", [1])])
def test_convert_command_keeps_chosen_layers(command, given, layers, tmp_path):
    files.saved(tmp_path / "one", "MaskedLM", tiny.bert())
    status, shown = command("convert", tmp_path / "one", tmp_path / "two", "--to", "safetensors", "--layers", given)
    assert (status, shown.err) == (0, "")
    one, two = files.arrays(tmp_path / "one"), files.arrays(tmp_path / "two")
    name = "bert.encoder.layer.{}.attention.self.query.weight"
    assert name.format(len(layers)) not in two
    for position, layer in enumerate(layers):
        np.testing.assert_array_equal(two[name.format(position)], one[name.format(layer)])
    assert json.loads((tmp_path / "two" / "config.json").read_text())["num_hidden_layers"] == len(layers)


@pytest.mark.parametrize("config", [tiny.bert(), tiny.albert(num_hidden_groups=2)], ids=["bert", "groups"])
def test_depth_of_unshared_layers_cannot_change(config, tmp_path):
    files.saved(tmp_path, "Encoder", config)
    with pytest.raises(ValueError, match="only an ALBERT of one group"):
        tiny.MODELS["Encoder"].from_pretrained(tmp_path, num_hidden_layers=6)


def test_convert_command_with_a_tokenizer(command, tmp_path):
    files.saved(tmp_path / "one", "MaskedLM", tiny.bert())
    shutil.copyfile(tiny_files.write_vocab(tmp_path), tmp_path / "one" / "vocab.txt")
    status, shown = command("convert", tmp_path / "one", tmp_path / "two", "--to", "flax", "--verbose")
    assert (status, shown.err) == (0, "")
    assert "tokenizer files: vocab.txt" in shown.out
    assert "bert.embeddings.word_embeddings.embedding [41, 12] float32" in shown.out
    assert (tmp_path / "two" / "vocab.txt").read_bytes() == (tmp_path / "one" / "vocab.txt").read_bytes()


@pytest.mark.parametrize("name", TOKENIZER_FILES)
def test_links_out_of_the_source_are_not_copied(command, name, tmp_path):
    """An untrusted directory may link to a secret file of the user, who then publishes the result."""
    files.saved(tmp_path / "one", "MaskedLM", tiny.bert())
    (tmp_path / "secret").write_text("hunter2")
    (tmp_path / "one" / name).symlink_to("../secret")
    status, shown = command("convert", tmp_path / "one", tmp_path / "two", "--to", "safetensors")
    assert status == 2
    assert f"{name} is a link out of its directory" in shown.err
    assert not (tmp_path / "two").exists()
    with pytest.raises(ValueError, match=f"{name} is a link out of its directory"):
        export.export(tmp_path / "one", tmp_path / "three", "stablehlo", batch=1, length=4)
    assert not (tmp_path / "three").exists()


def test_weights_and_tokenizer_are_from_one_save(tmp_path, monkeypatch):
    files.saved(tmp_path / "one", "MaskedLM", tiny.bert())
    (tmp_path / "one" / "vocab.txt").write_text("first")
    find = companions._tokenizer_files

    def and_then_saved(source):
        found = find(source)
        monkeypatch.setattr(companions, "_tokenizer_files", find)
        with staged_directory(tmp_path / "one") as stage:
            (stage / "vocab.txt").write_text("second")
        return found

    monkeypatch.setattr(companions, "_tokenizer_files", and_then_saved)
    convert.convert(str(tmp_path / "one"), str(tmp_path / "two"), ["safetensors"])
    assert (tmp_path / "two" / "vocab.txt").read_text() == "second"
    convert.convert(str(tmp_path / "one"), str(tmp_path / "one"), ["safetensors"])  # onto itself
    assert (tmp_path / "one" / "vocab.txt").read_text() == "second"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nowhere/at/all", "two", "--to", "flax"), "neither a directory nor a model id"),
        (("one", "two", "--to", "onnx"), "invalid choice: 'onnx'"),
        (("one", "two"), "--to"),
        (("one", "two", "--to", "flax", "--layers", "9"), "To keep some of the layers, name them"),
        (("one", "two", "--to", "flax", "--layers", "0,9"), "layers=(0, 9): expected one or more numbers from 0 to 2"),
        (("one", "two", "--to", "flax", "--layers", "0;2"), "'0;2' is neither a depth, as 24, nor layers to keep"),
    ],
)
def test_convert_command_explains_mistakes(command, arguments, message, tmp_path):
    files.saved(tmp_path / "one", "MaskedLM", tiny.bert())
    source, target, *rest = arguments
    source = source if "/" in source else tmp_path / source
    status, shown = command("convert", source, tmp_path / target, *rest)
    assert status == 2
    assert message in shown.err
    assert shown.out == ""
    assert not (tmp_path / "two").exists()


@pytest.mark.parametrize(("family", "head"), CHECKPOINTS)
def test_inspect_counts_the_parameters_of_the_model(family, head, tmp_path, capsys):
    model = files.saved(tmp_path, head, tiny.FAMILIES[family]())
    assert inspect.main([str(tmp_path)]) == 0
    shown = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert shown["family"].lower() == family
    assert shown["parameters"] == f"{sum(leaf.size for leaf in files.flat(model).values()):,}"
    assert shown["vocab_size"] == "41"
    heads = {path.split("/")[0] for path in files.flat(model)} - {"encoder", "embeddings", "layer", "layers"}
    heads |= {"pooler"} if any("pooler" in path for path in files.flat(model)) else set()
    assert set(shown["heads"].split(", ")) == (heads or {"none"})


def test_inspect_command_lists_tensors_and_explains_mistakes(command, tmp_path):
    files.saved(tmp_path / "one", "Encoder", tiny.distilbert())
    status, shown = command("inspect", tmp_path / "one", "--tensors")
    assert (status, shown.err) == (0, "")
    assert "  embeddings.word_embeddings.weight [41, 12] float32" in shown.out
    (tmp_path / "empty").mkdir()
    status, shown = command("inspect", tmp_path / "empty")
    assert status == 2
    assert shown.err.startswith("inspect: ")
    assert shown.out == ""


@pytest.mark.parametrize("name", ["albert", "albert/model.ckpt-best"])
def test_convert_reads_releases_of_google(name, repository, tmp_path):
    """By directory or by prefix; the tokenizer file gets the name that Hugging Face uses."""
    folder = tmp_path / "google"
    fixture = repository / "tests" / "flax_lite" / "checkpoints" / "sources" / "google_fixture"
    shutil.copytree(fixture / "albert", folder / "albert")
    tiny_files.write_sentencepiece(tmp_path).rename(folder / "albert" / "30k-clean.model")
    lines = convert.convert(str(folder / name), str(tmp_path / "two"), ("safetensors",))
    assert "heads: masked_lm_head, pooler, sentence_head" in lines[0]
    files.assert_same_parameters(load("PreTraining", folder / name), load("PreTraining", tmp_path / "two"))
    one, two = folder / "albert" / "30k-clean.model", tmp_path / "two" / "spiece.model"
    assert one.read_bytes() == two.read_bytes()


@pytest.mark.parametrize(
    ("name", "others", "left"),
    [
        ("albert", (), None),
        ("albert", ("vocab_chinese.txt",), None),
        ("albert_hub", ("saved_model.pb", "assets/30k-clean.model"), "assets/, saved_model.pb"),
        ("bert_classifier", ("eval_results.txt",), "eval_results.txt"),
    ],
)
def test_convert_lists_files_of_google_that_are_not_copied(name, others, left, repository, tmp_path):
    """The vocabulary of Google's Chinese ALBERTs is copied under the usual name."""
    fixture = repository / "tests" / "flax_lite" / "checkpoints" / "sources" / "google_fixture" / name
    shutil.copytree(fixture, tmp_path / "one")
    for other in others:
        (tmp_path / "one" / other).parent.mkdir(exist_ok=True)
        (tmp_path / "one" / other).write_text("[PAD]\n[UNK]\n")
    lines = convert.convert(str(tmp_path / "one"), str(tmp_path / "two"), ("flax",))
    assert [line for line in lines if line.startswith("did not copy")] == ([f"did not copy: {left}"] if left else [])
    found = tmp_path / "two" / "vocab.txt"
    assert found.exists() == ("vocab_chinese.txt" in others)
    assert not found.exists() or found.read_text() == "[PAD]\n[UNK]\n"


def sentence_encoder(directory, pooling="cls", **options):
    cases.saved(directory, "sentence-embedding")
    write_sentence_transformers(directory, pooling, **options)
    return directory


def test_convert_copies_sentence_transformers_files(tmp_path):
    """To a new directory, to one with other settings, and in place; `export` copies them for an encoder too."""
    one = sentence_encoder(tmp_path / "one", normalize=True, max_length=9)
    prompts = {"prompts": {"query": "q: "}, "default_prompt_name": None}
    (one / "config_sentence_transformers.json").write_text(json.dumps(prompts))
    sentence_encoder(tmp_path / "two", "max")
    (tmp_path / "two" / "sentence_albert_config.json").write_text('{"max_seq_length": 4}')
    for source, target, to in (("one", "three", "flax"), ("one", "two", "flax"), ("two", "two", "safetensors")):
        lines = convert.convert(str(tmp_path / source), str(tmp_path / target), (to,))
        assert lines[-1].startswith(
            f"wrote {tmp_path / target}: {to}, modules.json, config_sentence_transformers.json, "
            "sentence_bert_config.json, 1_Pooling/config.json, tokenizer files: "
        )
        assert read_sentence_transformers(tmp_path / target) == SentenceLayout("cls", True, 9)
        assert json.loads((tmp_path / target / "config_sentence_transformers.json").read_text()) == prompts
    vectors = [fl.pipeline("sentence-embedding", tmp_path / name, batch_size=1)("the cat") for name in ("one", "two")]
    np.testing.assert_allclose(*vectors, rtol=1e-6)
    line = export.export(one, tmp_path / "program", "stablehlo", task="feature-extraction", batch=1, length=9)
    assert "1_Pooling/config.json" in line
    assert read_sentence_transformers(tmp_path / "program") == SentenceLayout("cls", True, 9)


def test_convert_of_a_plain_model_removes_sentence_transformers_files(tmp_path):
    cases.saved(tmp_path / "one", "sentence-embedding")
    two = sentence_encoder(tmp_path / "two")
    (two / "README.md").write_text("mine")
    convert.convert(str(tmp_path / "one"), str(two), ("flax",))
    assert read_sentence_transformers(two) is None
    assert not (two / "1_Pooling").exists()
    assert (two / "README.md").read_text() == "mine"


@pytest.mark.parametrize("in_place", [False, True])
def test_convert_lists_files_that_are_not_copied(in_place, tmp_path):
    """Unsupported sentence-transformers files are not copied, with the reason; in place all files are kept."""
    one = sentence_encoder(tmp_path / "one")
    listed = json.loads((one / "modules.json").read_text())
    listed.append({"idx": 2, "name": "2", "path": "2_Dense", "type": "sentence_transformers.models.Dense"})
    (one / "modules.json").write_text(json.dumps(listed))
    for name in ("2_Dense/config.json", "onnx/model.onnx", "pytorch_model.bin", "README.md", ".gitattributes"):
        (one / name).parent.mkdir(exist_ok=True)
        (one / name).write_text("{}")
    before = {path.relative_to(one) for path in one.rglob("*")}
    target = one if in_place else tmp_path / "two"
    lines = convert.convert(str(one), str(target), ("safetensors",))
    if in_place:
        assert {path.relative_to(one) for path in one.rglob("*")} == before - {Path("pytorch_model.bin")} - {
            Path("flax_model.msgpack")
        }
        assert not [line for line in lines if line.startswith("did not copy")]
        return
    assert lines[1].startswith(
        f"did not copy the sentence-transformers files: {one / 'modules.json'} lists Transformer, "
    )
    assert lines[2] == (
        "did not copy: 1_Pooling/, 2_Dense/, README.md, flax_model.msgpack, modules.json, onnx/, pytorch_model.bin, "
        "sentence_bert_config.json"
    )
    assert read_sentence_transformers(target) is None


def test_convert_of_a_work_directory_copies_files_of_the_final_model(tmp_path, monkeypatch):
    """Weights are read from a checkpoint, tokenizer and sentence-transformers files from the final model."""
    delivered = sentence_encoder(tmp_path / "work" / "model", normalize=True, max_length=9)
    (tmp_path / "work" / "config.json").write_text('{"job": "finetune"}')
    checkpoint = open_source(delivered)
    monkeypatch.setattr(companions, "open_source", lambda source: checkpoint)
    convert.convert(str(tmp_path / "work"), str(tmp_path / "two"), ("flax",))
    assert (
        read_sentence_transformers(tmp_path / "two")
        == sentence_transformers_layout(tmp_path / "work")
        == SentenceLayout("cls", True, 9)
    )
    assert (tmp_path / "two" / "vocab.txt").exists()


@pytest.mark.parametrize("dtype", [None, "bfloat16"])
def test_beam_head_is_converted(tmp_path, dtype):
    model = tiny.make(fl.BeamQuestionAnswering, tiny.albert())
    model.save_pretrained(tmp_path / "one")
    # The second conversion is in place.
    for source, target, to in (("one", "two", "flax"), ("two", "two", "safetensors")):
        lines = convert.convert(str(tmp_path / source), str(tmp_path / target), (to,), dtype=dtype)
        assert lines[-1].startswith(f"wrote {tmp_path / target}: {to}, beam_head.safetensors, tokenizer files: none")
    loaded = fl.BeamQuestionAnswering.from_pretrained(tmp_path / "two", param_dtype=dtype)
    found = files.flat(loaded)
    for path, leaf in files.flat(model).items():
        np.testing.assert_array_equal(np.asarray(leaf).astype(dtype or leaf.dtype), found[path], err_msg=path)
    row = next(line for line in inspect.describe(open_source(tmp_path / "two")) if line.startswith("heads"))
    assert row.split(maxsplit=1) == ["heads", "beam head"]
