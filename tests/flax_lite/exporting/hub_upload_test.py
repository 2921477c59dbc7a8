"""Uploads with a stub of the library's API: which files go where, and what is refused before an upload."""

from types import SimpleNamespace

import huggingface_hub
import pytest
from huggingface_hub import constants, utils

from flax_lite.exporting.hub_upload import push_to_hub


class Api:
    """A hub that records its calls."""

    token = public = failure = None

    def __init__(self, token=None):
        self.calls = []
        Api.instance = self
        Api.token = token

    def create_repo(self, repo_id, **options):
        self.calls.append(("create", repo_id, options))
        return SimpleNamespace(repo_id=repo_id if "/" in repo_id else f"me/{repo_id}")

    def model_info(self, repo_id):
        return SimpleNamespace(private=not Api.public)

    def upload_folder(self, **options):
        if Api.failure is not None:
            raise Api.failure
        folder = options.pop("folder_path")
        paths = [str(path.relative_to(folder)) for path in sorted(folder.rglob("*")) if path.is_file()]
        files = utils.filter_repo_objects(paths, ignore_patterns=options.pop("ignore_patterns"))
        self.calls.append(("upload", list(files), options))
        return SimpleNamespace(commit_url="https://hub/commit/1")


@pytest.fixture
def api(monkeypatch):
    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: "hf_mine")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    for name in ("public", "failure"):
        monkeypatch.setattr(Api, name, None)
    return Api


@pytest.fixture
def directory(tmp_path):
    kept = ("config.json", "model.safetensors", "1_Pooling/config.json", "README.md")
    for name in (*kept, ".cache/secret", "sub/.hidden", "pytorch_model.bin", "code.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("{}")
    return tmp_path


def test_private_by_default_and_in_one_commit(api, directory):
    assert push_to_hub(directory, "tiny", message="First") == "https://hub/commit/1"
    create, upload = api.instance.calls
    assert create == ("create", "tiny", {"private": True, "exist_ok": True})
    assert upload[1] == ["1_Pooling/config.json", "README.md", "config.json", "model.safetensors"]
    assert upload[2] == {"repo_id": "me/tiny", "revision": None, "commit_message": "First"}


def test_public_repositories_need_private_false(api, directory):
    api.public = True
    with pytest.raises(ValueError, match="owner/tiny is public: give private=False"):
        push_to_hub(directory, "owner/tiny")
    assert [call[0] for call in api.instance.calls] == ["create"]
    push_to_hub(directory, "owner/tiny", private=False, token="hf_other")
    assert (api.token, api.instance.calls[0][2]["private"]) == ("hf_other", False)


def test_uploads_need_a_token(api, directory, monkeypatch):
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
    with pytest.raises(ValueError, match="needs a token with write permission: log in with `hf auth login`"):
        push_to_hub(directory, "owner/tiny")
    assert push_to_hub(directory, "owner/tiny", token="hf_given")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ValueError, match="HF_HUB_OFFLINE is set"):
        push_to_hub(directory, "owner/tiny", token="hf_given")


def test_refusals_are_one_line(api, directory):
    failure = RuntimeError("403 Forbidden\nfor url")
    api.failure = failure
    with pytest.raises(ValueError, match=r"owner/tiny could not be uploaded \(RuntimeError: 403 Forbidden for url\)"):
        push_to_hub(directory, "owner/tiny")
    failure.response = SimpleNamespace(status_code=403)
    with pytest.raises(ValueError, match="no permission to write to owner/tiny: use a token of an owner") as caught:
        push_to_hub(directory, "owner/tiny")
    assert "hf_mine" not in str(caught.value)


@pytest.mark.parametrize("repo_id", ["", "a/b/c", "owner/tiny@main", "../x"])
def test_ids_are_checked(api, directory, repo_id):
    with pytest.raises(ValueError, match="is not the id of a repository; expected NAME or OWNER/NAME"):
        push_to_hub(directory, repo_id)


def test_directories_are_checked(api, directory):
    (directory / "model.safetensors").unlink()
    with pytest.raises(ValueError, match=r"holds no model: expected config.json beside model\*.safetensors or"):
        push_to_hub(directory, "owner/tiny")


@pytest.mark.parametrize("name", ["vocab.txt", "runs", "1_Pooling/notes"])
def test_links_out_of_the_directory_are_not_published(name, api, directory, tmp_path_factory):
    secrets = tmp_path_factory.mktemp("secrets")
    (directory / "vocab.bak").symlink_to("config.json")  # links inside the directory are allowed
    (directory / name).symlink_to(secrets)
    with pytest.raises(ValueError, match=f"{name} is a link out of the directory, to .*secrets"):
        push_to_hub(directory, "me/tiny")
    (directory / name).unlink()
    push_to_hub(directory, "me/tiny")
