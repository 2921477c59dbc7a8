"""Tests of hub ids, and of the choice of files, with the real huggingface_hub and a fake hub."""

import pytest
from huggingface_hub import errors, utils

from flax_lite.checkpoints.sources.hub import HubId, fetch_model, fetch_tokenizer, parse_hub_id
from tests.flax_lite import fake_hub
from tests.flax_lite.checkpoints.sources.hub_cases import INDEX, MODEL, SHARDS, TINY, contents, index_of, refused

PICKLED = {"config.json": b"{}", "pytorch_model.bin": b"\x80\x02pickle"}
IDS = ["albert-base-v2", "google/bert_uncased_L-2_H-128_A-2", "a", "A.b_c-d/1", "x" * 96, "_a/b_"]
NO_IDS = ["", "/", "a/", "/a", "a/b/c", ".a", "a.", "a/.b", "a..b", "a--b", "-a", "a-", "x" * 97, "a b", "é", "a/b.git"]
NO_IDS += ["./a", "../a", "~/a", "C:\\a", "a\\b", "a\n", "a:b"]


@pytest.mark.parametrize("name", IDS + NO_IDS)
def test_ids_are_valid_by_the_rules_of_the_hub(name):
    """As in the library, which however accepts letters of every script; the hub does not."""
    assert (parse_hub_id(name) is not None) == (name in IDS)
    if name.isascii():
        try:
            utils.validate_repo_id(name)
        except errors.HFValidationError:
            assert name in NO_IDS
        else:
            assert name in [*IDS, "a\n"]  # $ in its expression matches before a final line break too


@pytest.mark.parametrize("revision", ["main", "v1.0", "refs/pr/3", "feature/x+y", "0" * 40])
def test_id_with_revision(revision):
    hub_id = parse_hub_id(f"owner/tiny@{revision}")
    assert hub_id == HubId("owner/tiny", revision)
    assert parse_hub_id(str(hub_id)) == hub_id


@pytest.mark.parametrize(
    "source",
    [
        *("owner/tiny@", "owner/tiny@..", "owner/tiny@../x", "owner/tiny@a/../b", "owner/tiny@/x", "owner/tiny@-x"),
        *(
            "owner/tiny@a@b",
            "owner/tiny@x ",
            "owner/tiny@v1..v2",
            "@main",
            "vocab.txt",
            "dir/model.safetensors",
            "spiece.model",
            "a/b.py",
        ),
    ],
)
def test_paths_and_file_names_are_no_ids(source):
    assert parse_hub_id(source) is None


def test_only_config_and_weights_are_fetched(hub):
    """Code, pickles and other formats are not downloaded."""
    others = ("README.md", "pytorch_model.bin", "flax_model.msgpack", "tf_model.h5", "modeling_tiny.py", "vocab.txt")
    commit = hub.add(TINY.name, MODEL | dict.fromkeys(others, b"other"))
    directory = fetch_model(TINY)
    assert contents(directory) == MODEL
    assert directory.name == commit
    resolve = f"/{TINY.name}/resolve/{commit}"
    assert hub.asked == [
        f"GET /api/models/{TINY.name}/revision/main",
        *(f"{method} {resolve}/config.json" for method in ("HEAD", "GET")),
        f"HEAD {resolve}/model.safetensors",
        f"GET /store/{fake_hub.sha256(MODEL['model.safetensors'])}",
    ]


def test_msgpack_is_fetched_without_safetensors(hub):
    files = {"config.json": b"{}", "flax_model.msgpack": b"flax"}
    hub.add(TINY.name, files | {"pytorch_model.bin": b"pickle"})
    assert contents(fetch_model(TINY)) == files


@pytest.mark.parametrize("name", ["model.safetensors", "flax_model.msgpack"])
def test_shards_of_the_index_are_fetched(hub, name):
    stem, ending = name.split(".")
    shards = [f"{stem}-0000{n}-of-00002.{ending}" for n in (1, 2)]
    files = {"config.json": b"{}", f"{name}.index.json": index_of(*shards, shards[0])}
    files |= {shard: shard.encode() for shard in shards}
    hub.add(TINY.name, files | {f"{stem}-00001-of-00003.{ending}": b"of another model"})
    assert contents(fetch_model(TINY)) == files


BAD_INDEXES = {
    "traversal": (index_of("../../../etc/model.safetensors"), "names '../../../etc/model.safetensors'"),
    "absolute": (index_of("/etc/model.safetensors"), "names '/etc/model.safetensors'"),
    "below": (index_of("sub/model.safetensors"), "names 'sub/model.safetensors'"),
    "backslash": (index_of("..\\model.safetensors"), "which it names|names '"),
    "hidden": (index_of(".model.safetensors"), "names '.model.safetensors'"),
    "two dots": (index_of("a..safetensors"), "names 'a..safetensors'"),
    "pickle": (
        index_of("pytorch_model.bin"),
        r"names 'pytorch_model.bin', expected plain names of files \*.safetensors",
    ),
    "number": (index_of(3), "names '3'"),
    "list of names": (index_of(["a.safetensors"]), "names"),
    "missing": (index_of("model-00001-of-00001.safetensors"), "but no model-00001-of-00001.safetensors, which it"),
    "empty": (index_of(), "it has no weight_map"),
    "no map": (b"{}", "it has no weight_map"),
    "list": (b"[]", "it holds a list"),
    "no JSON": (b"{", "is not valid JSON"),
    "no text": (b"\xff\xff", "is not valid JSON"),
    "deep": (b"[" * 100_000, "is not valid JSON: it is nested"),
}


@pytest.mark.parametrize("case", BAD_INDEXES)
def test_index_with_malformed_file_names_is_refused(hub, case, tmp_path):
    content, message = BAD_INDEXES[case]
    hub.add(TINY.name, {"config.json": b"{}", INDEX: content, "pytorch_model.bin": b"", "../x.safetensors": b""})
    refused(message)
    assert hub.downloads("pytorch_model.bin") == []
    assert {path.name for path in tmp_path.rglob("snapshots/*/*")} == {INDEX}


def test_absurdly_large_index_is_not_read(hub):
    hub.add(TINY.name, {"config.json": b"{}", INDEX: b" " * (16 * 2**20 + 1)})
    refused("has 16777217 bytes")


def test_pickle_is_never_downloaded(hub):
    hub.add(TINY.name, PICKLED)
    refused(
        "has its weights only as pytorch_model.bin; a pickle can run arbitrary code and is never opened, and the hub's "
        "conversion bot offers no safetensors of it: ask its author for them, or convert it yourself"
    )
    assert hub.downloads("pytorch_model.bin") == []


OTHERS = {
    "an adapter": (
        {"adapter_config.json": b"{}", "adapter_model.safetensors": b""},
        "an adapter .*merge",
    ),
    "an adapter with a model": (MODEL | {"adapter_config.json": b"{}"}, "an adapter .*merge"),
    "a program": ({"config.json": b"{}", "onnx/model.onnx": b""}, "onnx/model.onnx is an exported program"),
    "rust-bert's": (
        {"config.json": b"{}", "rust_model.ot": b""},
        "rust_model.ot is .* never opened",
    ),
}


@pytest.mark.parametrize("case", OTHERS)
def test_other_contents_are_named(hub, case):
    files, message = OTHERS[case]
    hub.add(TINY.name, files)
    refused(message)


def test_conversion_is_found(hub, offline, caplog):
    """On the second page of pull requests, among others; the README may have changed since."""
    hub.add(TINY.name, PICKLED | {"README.md": b"new"})
    for title in ("Adding `safetensors` variant", "Update README.md"):
        hub.open_request(TINY.name, PICKLED | MODEL | {"model.safetensors": b"wrong"}, title=title)
    number = hub.open_request(TINY.name, PICKLED | MODEL | {"README.md": b"old"})
    directory = fetch_model(TINY)
    assert contents(directory) == MODEL
    assert (
        f"owner/tiny has only pytorch_model.bin: its weights are taken from owner/tiny@refs/pr/{number}" in caplog.text
    )
    offline()
    assert fetch_model(HubId(TINY.name, f"refs/pr/{number}")) == directory


def test_sharded_conversion_is_fetched(hub):
    pickles = dict.fromkeys(("pytorch_model.bin.index.json", "pytorch_model-00001-of-00001.bin"), b"pickle")
    files = {"config.json": b"{}", INDEX: index_of(*SHARDS)} | dict.fromkeys(SHARDS, b"shard")
    hub.add(TINY.name, {"config.json": b"{}"} | pickles)
    hub.open_request(TINY.name, pickles | files)
    assert contents(fetch_model(TINY)) == files


UNTRUSTED_REQUESTS = {
    "by another author": {"author": {"name": "SFconvertbot2"}},
    "closed": {"status": "closed"},
    "a discussion": {"isPullRequest": False},
    "with another title": {"title": "Add weights"},
    "of another pickle": {"files": {"pytorch_model.bin": b"old"}},
    "of another configuration": {"files": {"config.json": b"old"}},
    "without weights": {"files": {}},
    "on a mirror without hashes": {"hashes": False},
}


@pytest.mark.parametrize("case", UNTRUSTED_REQUESTS)
def test_other_requests_are_not_trusted(hub, case):
    """Anybody can open a pull request with any title."""
    changes = dict(UNTRUSTED_REQUESTS[case])
    added, hub.hashes = changes.pop("files", None), changes.pop("hashes", True)
    hub.add(TINY.name, PICKLED)
    hub.open_request(TINY.name, PICKLED | ({} if added == {} else MODEL) | (added or {}), **changes)
    refused("conversion bot offers no safetensors")
    assert hub.downloads("model.safetensors") == []
    assert len(hub.asked) <= 3


def test_only_tokenizer_files_and_config_are_fetched(hub):
    files = dict.fromkeys(("spiece.model", "tokenizer.json", "special_tokens_map.json", "config.json"), b"{}")
    hub.add("tiny", files | MODEL | {"README.md": b""})
    assert contents(fetch_tokenizer(HubId("tiny"))) == files
    vocabulary = {"vocab.txt": b"a", "tokenizer_config.json": b"{}", "added_tokens.json": b"{}"}
    hub.add("tiny", vocabulary, "v2")
    assert contents(fetch_tokenizer(HubId("tiny", "v2"))) == vocabulary
