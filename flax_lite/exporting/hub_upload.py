"""A model directory onto the Hugging Face hub."""

import os
from pathlib import Path
from typing import Any

from flax_lite.checkpoints.sources.hub import parse_hub_id
from flax_lite.checkpoints.sources.hub_client import root_cause
from flax_lite.files.names import CONFIG
from flax_lite.files.reading import outside

_WEIGHTS = ("model*.safetensors", "flax_model*.msgpack")
# What editors and file systems leave behind; and nothing that can run code travels.
_LEFT_OUT = (".*", "**/.*", "*.bin", "*.pkl", "*.pt", "*.pth", "*.py", "__pycache__/*")


def push_to_hub(
    directory: str | os.PathLike[str],
    repo_id: str,
    *,
    private: bool = True,
    revision: str | None = None,
    message: str = "Upload model",
    token: str | None = None,
) -> str:
    """Uploads a directory in one commit, into a repository that is made if it is not there.

    Hidden files, pickles and Python code stay behind.

    Args:
        directory: as `save_pretrained` writes it; a tokenizer and a README.md (`flax_lite.exporting.model_card`) should
            be there.
        repo_id: "NAME" or "OWNER/NAME".
        private: whether only its owners see the repository. One that is public already is refused unless this is False.
        revision: a branch that is there; the main one if None.
        message: of the commit.
        token: with the right to write; the library's own (HF_TOKEN, `hf auth login`) if None.

    Returns:
        The address of the commit.

    Raises:
        ValueError: if the directory holds no model, or a link to what lies elsewhere, the id cannot be one, there is no
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
        # The owner's namespace, where none was given.
        repo_id = getattr(repository, "repo_id", repo_id)
        if private and not api.model_info(repo_id).private:
            raise PermissionError(f"{repo_id} is public: give private=False to upload into it, or another name")
        commit = api.upload_folder(
            repo_id=repo_id,
            folder_path=path,
            revision=revision,
            commit_message=message,
            ignore_patterns=list(_LEFT_OUT),
        )
    except PermissionError as error:
        raise ValueError(str(error)) from None
    except Exception as error:  # of requests or httpx, as the library's version goes
        raise _explained(error, repo_id) from None
    return str(commit.commit_url)


def _refuse_links_out(directory: Path) -> None:
    """The upload would follow them, and publish what lies there."""
    for folder, folders, files in os.walk(directory):
        for entry in (Path(folder, name) for name in (*folders, *files)):
            if entry.is_symlink() and (target := outside(entry, directory)):
                raise ValueError(f"{entry} is a link out of the directory, to {target}: put a copy there, or remove it")


def check_upload(repo_id: str, *, token: str | None = None) -> None:
    """Checks, without asking the hub, what a long job should not find out at its end.

    Args:
        repo_id: as for `push_to_hub`.
        token: likewise.

    Raises:
        ValueError: if the id cannot be one, uploads are forbidden, or there is no token.
    """
    from huggingface_hub import constants, get_token

    if "@" in repo_id or parse_hub_id(repo_id) is None:
        raise ValueError(f"repo_id={repo_id!r} cannot be a repository's; expected NAME or OWNER/NAME")
    if constants.HF_HUB_OFFLINE:
        raise ValueError("HF_HUB_OFFLINE forbids to ask the hub: unset it to upload")
    if not (token or get_token()):
        raise ValueError(
            "uploading needs a token with the right to write: log in with `hf auth login`, set HF_TOKEN, or give token="
        )


def _explained(error: Exception, repo_id: str) -> ValueError:
    root = root_cause(error)
    detail = f"{type(root).__name__}: {' '.join(str(root).split())}"
    status: Any = getattr(getattr(error, "response", None), "status_code", None)
    if status in (401, 403):
        return ValueError(f"{repo_id} may not be written: use a token with that right, of an owner ({detail})")
    return ValueError(f"{repo_id} could not be uploaded ({detail})")
