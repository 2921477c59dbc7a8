"""Tests of commits, cache, offline mode and failures, with the real huggingface_hub and a fake hub."""

import os
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from huggingface_hub import constants

from flax_lite.checkpoints.sources.hub import HubId, fetch_model, fetch_tokenizer
from tests.flax_lite import fake_hub
from tests.flax_lite.checkpoints.sources.hub_cases import INDEX, MODEL, SHARDS, TINY, contents, index_of, refused


def test_cached_files_are_not_requested_again(hub):
    hub.add(TINY.name, MODEL)
    directory = fetch_model(TINY)
    hub.asked.clear()
    assert fetch_model(TINY) == directory
    assert hub.asked == [f"GET /api/models/{TINY.name}/revision/main"]


def test_nothing_is_printed_or_warned(hub, capfd):
    hub.add(TINY.name, MODEL)
    fetch_model(TINY)
    assert capfd.readouterr() == ("", "")


def test_revision_is_a_branch_a_tag_or_a_commit(hub):
    old = hub.add(TINY.name, MODEL | {"config.json": b'{"old": 1}'}, "v1.0")
    hub.add(TINY.name, MODEL)
    for revision in ("v1.0", old):
        directory = fetch_model(HubId(TINY.name, revision))
        assert (directory.name, contents(directory)["config.json"]) == (old, b'{"old": 1}')
    assert contents(fetch_model(TINY)) == MODEL


def test_all_files_are_of_one_commit(hub):
    """The branch moves while the first file is downloaded: the second file must be from the old commit."""
    commit = hub.add(TINY.name, MODEL)
    hub.then = ("GET", "config.json", lambda: hub.add(TINY.name, dict.fromkeys(MODEL, b"new")))
    directory = fetch_model(TINY)
    assert (directory.name, contents(directory)) == (commit, MODEL)
    assert set(contents(fetch_model(TINY)).values()) == {b"new"}


def test_old_name_of_a_repository_is_followed(hub):
    hub.add("owner/tiny", MODEL)
    hub.moved["tiny"] = "owner/tiny"
    assert contents(fetch_model(HubId("tiny"))) == MODEL


@pytest.mark.parametrize("revision", ["main", "v1.0", "refs/pr/1"])
def test_offline_uses_the_cache(hub, offline, revision):
    hub.add(TINY.name, MODEL, revision)
    hub_id = HubId(TINY.name, revision)
    directory = fetch_model(hub_id)
    offline()
    hub.asked.clear()
    assert fetch_model(hub_id) == directory
    assert fetch_model(HubId(TINY.name, directory.name)) == directory
    assert hub.asked == []


def test_offline_without_cache_is_an_error(hub, offline):
    hub.add(TINY.name, MODEL)
    offline()
    refused("for owner/tiny the cache at .* has no config.json, and HF_HUB_OFFLINE forbids")
    refused("has no tokenizer: .* HF_HUB_OFFLINE forbids", fetch_tokenizer)
    assert hub.asked == []


def test_offline_incomplete_model_is_an_error(hub, offline):
    """After an interrupted download, and if only the configuration was read before."""
    hub.add(TINY.name, {"config.json": b"{}", INDEX: index_of(*SHARDS)} | dict.fromkeys(SHARDS, b"shard"))
    directory = fetch_model(TINY)
    (directory / SHARDS[1]).unlink()
    offline()
    refused(f"has {INDEX}, but no {SHARDS[1]}, which it names, and HF_HUB_OFFLINE")
    (directory / INDEX).unlink()
    refused("has no model.safetensors, no flax_model.msgpack, and HF_HUB_OFFLINE")


def test_offline_an_interrupted_update_keeps_the_old_commit(hub, offline):
    """The commit of a revision is stored after all its files are downloaded."""
    hub.add(TINY.name, MODEL)
    old = fetch_model(TINY)
    new = b"new weights" * 1000
    hub.add(TINY.name, MODEL | {"model.safetensors": new})
    hub.cuts[fake_hub.sha256(new)] = 100
    refused("model.safetensors could not be downloaded")
    offline()
    assert fetch_model(TINY) == old


@pytest.mark.parametrize("broken", ["500", "refused", "not a hub"])
def test_without_an_answer_the_cache_is_used(hub, broken, monkeypatch, caplog):
    hub.add(TINY.name, MODEL)
    directory = fetch_model(TINY)
    break_connection(hub, broken, monkeypatch)
    assert fetch_model(TINY) == directory
    assert f"the cached commit {directory.name} is used" in caplog.text
    refused("has no tokenizer: .* and http://127.0.0.1:.* gave no usable answer", fetch_tokenizer)


@pytest.mark.parametrize("broken", ["500", "refused", "not a hub"])
def test_without_an_answer_and_without_cache_it_is_one_error(hub, broken, monkeypatch):
    break_connection(hub, broken, monkeypatch)
    message = refused("the cache at .* has no config.json, and http://127.0.0.1:.* gave no usable answer, check the")
    assert broken != "500" or "500" in message


def break_connection(hub, broken, monkeypatch):
    if broken == "refused":
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{free.getsockname()[1]}")
    else:
        hub.status = 500 if broken == "500" else 200  # an empty page, as from a network with a login page


def test_missing_repository_and_revision_are_named(hub):
    refused(f"there is no model {hub.url}/owner/tiny, or it is private: check the spelling, or log in")
    commit = hub.add(TINY.name, MODEL)
    refused("owner/tiny has no revision 'v2': give a branch, a tag", hub_id=HubId(TINY.name, "v2"))
    hub.add(TINY.name, {"model.safetensors": b""}, "v3")
    refused(r"owner/tiny@v3 has no config.json \(commit", hub_id=HubId(TINY.name, "v3"))
    hub.add(TINY.name, {"config.json": b"{}", "tf_model.h5": b""}, "v4")
    refused(r"has no model.safetensors, no flax_model.msgpack; tf_model.h5 is", hub_id=HubId(TINY.name, "v4"))
    refused(f"no tokenizer: none of spiece.model, tokenizer.json, vocab.txt .commit {commit}", fetch_tokenizer)


def test_error_of_a_gated_repository_links_to_its_page(hub):
    hub.add(TINY.name, MODEL)
    hub.gated.add(TINY.name)
    refused(f"owner/tiny is gated: accept its conditions at {hub.url}/owner/tiny, and log in")


def test_interrupted_download_leaves_no_partial_file(hub, tmp_path):
    """Versions of the library resume the download or start again; both must give the same file."""
    hub.add(TINY.name, MODEL)
    digest = fake_hub.sha256(MODEL["model.safetensors"])
    hub.cuts[digest] = 100
    refused("owner/tiny: model.safetensors could not be downloaded, try again later")
    assert not list(tmp_path.rglob("model.safetensors"))
    assert hub.cuts[digest] < 100
    hub.cuts[digest] = 1  # interrupted a second time
    try:
        directory = fetch_model(TINY)
    except ValueError:  # only newer versions of the library retry
        directory = fetch_model(TINY)
    assert contents(directory) == MODEL


def test_file_that_vanishes_is_one_error(hub):
    commit = hub.add(TINY.name, MODEL)
    hub.then = ("GET", "main", lambda: hub.commits[TINY.name][commit].pop("config.json"))
    refused("owner/tiny: config.json could not be downloaded")


def test_environment_variables_are_read_by_a_fresh_process(hub, tmp_path, repository):
    """The library reads endpoint, cache and offline mode when it is imported."""
    hub.add(TINY.name, MODEL)
    code = """
        import sys
        from flax_lite.checkpoints.sources.hub import fetch_model, parse_hub_id
        assert "huggingface_hub" not in sys.modules
        print(fetch_model(parse_hub_id("owner/tiny")))
    """
    environment = os.environ | {"HF_HOME": str(tmp_path / "home"), "HF_HUB_DISABLE_TELEMETRY": "1"}
    printed = set()
    for settings in (
        {"HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0"},
        {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HUB_OFFLINE": "1"},
    ):
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", textwrap.dedent(code)],
            cwd=repository,
            env=environment | settings,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        printed.add(done.stdout.strip())
    (directory,) = map(Path, printed)
    assert directory.is_relative_to(tmp_path / "home" / "hub")
    assert contents(directory) == MODEL
