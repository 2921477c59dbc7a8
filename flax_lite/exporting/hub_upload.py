"""Uploads a model directory to the Hugging Face hub."""

import os
from pathlib import Path
from typing import Any

from flax_lite.checkpoints.sources.hub import parse_hub_id
from flax_lite.checkpoints.sources.hub_client import root_cause
from flax_lite.files.names import CONFIG
from flax_lite.files.reading import outside

_WEIGHTS = ("model*.safetensors", "flax_model*.msgpack")
# Hidden files, and files that can run code.
_IGNORED = (".*", "**/.*", "*.bin", "*.pkl", "*.pt", "*.pth", "*.py", "__pycache__/*")


def push_to_hub(
    directory: str | os.PathLike[str],
    repo_id: str,
    *,
    private: bool = True,
    revision: str | None = None,
    message: str = "Upload model",
    token: str | None = None,
) -> str:
    """Uploads a directory in one commit, and creates the repository if it does not exist.

    Hidden files, pickles and Python code are not uploaded.

    Args:
        directory: a directory as `save_pretrained` writes it; it should also have a tokenizer and a README.md
            (`flax_lite.exporting.model_card`).
        repo_id: "NAME" or "OWNER/NAME".
        private: whether only the owners can see the repository. If it is true, an existing public repository is
            refused.
        revision: an existing branch; the main branch if None.
        message: the commit message.
        token: an access token with write permission; if None, the one of huggingface_hub (HF_TOKEN, `hf auth login`).

    Returns:
        The URL of the commit.

    Raises:
        ValueError: if the directory holds no model or has a link to a file outside, the id is invalid, there is no
            token or network, or the hub refuses.
    """
    from huggingface_hub import HfApi

    path = Path(directory)
    if not (path / CONFIG).is_file() or not any(list(path.glob(pattern)) for pattern in _WEIGHTS):
        raise ValueError(f"{path} holds no model: expected config.json beside {' or '.join(_WEIGHTS)}")
    _refuse_links_out(path)
    check_upload(repo_id, token=token)
    api = HfApi(token=token)
    try:
        repository = api.create_repo(repo_id, private=private, exist_ok=True)
        # With the owner's namespace, if none was given.
        repo_id = getattr(repository, "repo_id", repo_id)
        if private and not api.model_info(repo_id).private:
            raise PermissionError(f"{repo_id} is public: give private=False to upload into it, or another name")
        commit = api.upload_folder(
            repo_id=repo_id,
            folder_path=path,
            revision=revision,
            commit_message=message,
            ignore_patterns=list(_IGNORED),
        )
    except PermissionError as error:
        raise ValueError(str(error)) from None
    except Exception as error:  # the class depends on the library's version: requests or httpx
        raise _upload_error(error, repo_id) from None
    return str(commit.commit_url)


def _refuse_links_out(directory: Path) -> None:
    """Raises ValueError for links out of the directory, which the upload would follow, and publish their targets."""
    for folder, folders, files in os.walk(directory):
        for entry in (Path(folder, name) for name in (*folders, *files)):
            if entry.is_symlink() and (target := outside(entry, directory)):
                raise ValueError(
                    f"{entry} is a link out of the directory, to {target}: replace it by a copy, or remove it"
                )


def check_upload(repo_id: str, *, token: str | None = None) -> None:
    """Checks the id and the token without a connection, so that a long job fails at its start and not at its end.

    Args:
        repo_id: as for `push_to_hub`.
        token: as for `push_to_hub`.

    Raises:
        ValueError: if the id is invalid, HF_HUB_OFFLINE is set, or there is no token.
    """
    from huggingface_hub import constants, get_token

    if "@" in repo_id or parse_hub_id(repo_id) is None:
        raise ValueError(f"repo_id={repo_id!r} is not the id of a repository; expected NAME or OWNER/NAME")
    if constants.HF_HUB_OFFLINE:
        raise ValueError("HF_HUB_OFFLINE is set, which forbids connections to the hub: unset it to upload")
    if not (token or get_token()):
        raise ValueError(
            "uploading needs a token with write permission: log in with `hf auth login`, set HF_TOKEN, or give token="
        )


def _upload_error(error: Exception, repo_id: str) -> ValueError:
    root = root_cause(error)
    detail = f"{type(root).__name__}: {' '.join(str(root).split())}"
    status: Any = getattr(getattr(error, "response", None), "status_code", None)
    if status in (401, 403):
        return ValueError(f"no permission to write to {repo_id}: use a token of an owner, with write access ({detail})")
    return ValueError(f"{repo_id} could not be uploaded ({detail})")
