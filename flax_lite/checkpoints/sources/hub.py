"""Models and tokenizers from the Hugging Face hub, by name.

A revision is resolved to a commit first, and every file is taken from that commit. Only the files that are needed are
downloaded, to the cache that other tools share (HF_HOME, HF_HUB_CACHE); cached files are not requested again. With
HF_HUB_OFFLINE=1, and if the hub does not answer, only the cache is used. huggingface_hub handles access to private
models (HF_TOKEN, `hf auth login`). Nothing that is fetched is executed: no pickle and no code is downloaded.
"""

import itertools
import logging
import re
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from flax_lite.checkpoints.sentence_transformers import (
    LENGTH_FILES,
    MODULES_FILE,
    SETTINGS_FILE,
    module_files,
    module_paths,
)
from flax_lite.checkpoints.sources.directory import HEAD_FILE
from flax_lite.checkpoints.sources.foreign import ADAPTER, MERGE, foreign_weights
from flax_lite.checkpoints.sources.hub_client import Cached, Files, HubId, Online, UnreachableError, ask, resolve
from flax_lite.files.names import CONFIG, TOKENIZER_FILES, VOCABULARIES, NoTokenizerError
from flax_lite.files.names import SETTINGS_FILE as TOKENIZER_SETTINGS
from flax_lite.files.strict_json import read_json

__all__ = ["HubId", "fetch_model", "fetch_sentence_transformers", "fetch_tokenizer", "parse_hub_id"]

logger = logging.getLogger("flax_lite")

# In order of precedence, as for a directory.
_WEIGHTS = ("model.safetensors", "flax_model.msgpack")
_OTHER_WEIGHTS = re.compile(r"(pytorch_model|tf_model)[\w.-]*", re.ASCII)
# huggingface_hub/utils/_validators.py, validate_repo_id.
_MAX_NAME = 96
_PART = r"\w(?:[\w.-]*\w)?"
_NAME = re.compile(rf"(?:{_PART}/)?({_PART})", re.ASCII)
# Names of branches and tags that git allows and that are plain relative paths, which they become in the cache.
_REVISION = re.compile(r"\w[\w.+-]*(?:/\w[\w.+-]*)*", re.ASCII)
# Endings of files that a user may name: a missing "vocab.txt" is not looked up on the hub.
_FILE_ENDINGS = (".bin", ".ckpt", ".git", ".h5", ".json", ".model", ".msgpack", ".py", ".safetensors", ".txt")
_SHARD = re.compile(r"\w(?:[.-]?\w)*", re.ASCII)
# Author and title of the pull requests that convert pickles. Anybody can open a pull request, but only the bot has this
# name. Source: transformers 4.57 and 5, safetensors_conversion.py, get_conversion_pr_reference.
_BOT = "SFconvertbot"
_BOT_TITLE = "Adding `safetensors` variant of this model"
_MAX_REQUESTS = 100


def parse_hub_id(source: str) -> HubId | None:
    """Reads "name", "owner/name" or either with "@revision".

    Returns:
        The id, or None if it is invalid by the hub's rules, or the name of a file.
    """
    name, at, revision = source.partition("@")
    match = _NAME.fullmatch(name)
    if match is None or len(match[1]) > _MAX_NAME or "--" in name or ".." in name or name.endswith(_FILE_ENDINGS):
        return None
    if not at:
        return HubId(name)
    return HubId(name, revision) if _REVISION.fullmatch(revision) and ".." not in revision else None


def fetch_model(hub_id: HubId) -> Path:
    """Downloads config.json, the weights and a head's separate file, unless they are in the cache.

    safetensors, single or sharded, take precedence over flax_model.msgpack. If the repository has only a pickle, the
    safetensors of the hub's conversion bot are taken from its pull request, provided that they were made from this very
    pickle.

    Returns:
        The directory of the files in the cache, which may contain other files too.

    Raises:
        ValueError: no such repository, revision or file; no permission; no supported weights; an index with malformed
            names; no network and not in the cache; or a failed download.
    """
    return _fetch(hub_id, _model_directory)


def fetch_tokenizer(hub_id: HubId) -> Path:
    """Downloads those files of the tokenizer that the repository has, and config.json.

    Returns:
        The directory of the files in the cache.

    Raises:
        ValueError: as `fetch_model`, or if the repository has no tokenizer.
    """
    return _fetch(hub_id, _tokenizer_directory)


def fetch_sentence_transformers(hub_id: HubId) -> Path:
    """Downloads config.json, and those files of sentence-transformers that the repository has.

    Returns:
        The directory of the files in the cache.

    Raises:
        ValueError: as `fetch_model`, or if the modules are not supported.
    """
    return _fetch(hub_id, _sentence_directory)


def _fetch(hub_id: HubId, choose: Callable[[Files], Path]) -> Path:
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return choose(Cached(hub_id, "HF_HUB_OFFLINE forbids requests to the hub: unset it once, with a network"))
    try:
        return choose(resolve(hub_id))
    except UnreachableError as error:
        why = str(error)
    directory = choose(Cached(hub_id, why))
    logger.warning("%s: %s; the cached commit %s is used", hub_id, why, directory.name)
    return directory


def _fetch_all(files: Files, names: Collection[str]) -> Path:
    paths = [files.fetch(name) for name in names]
    files.remember(paths[0].parent)
    return paths[0].parent


def _tokenizer_directory(files: Files) -> Path:
    if not any(name in files for name in VOCABULARIES):
        lacking = files.lacks(f"no tokenizer: none of {', '.join(VOCABULARIES)}")
        # A cache may hold only a part of the repository.
        raise NoTokenizerError(str(lacking)) if isinstance(files, Online) else lacking
    return _fetch_all(files, [name for name in (*TOKENIZER_FILES, CONFIG) if name in files])


def _sentence_directory(files: Files) -> Path:
    if CONFIG not in files:
        raise files.lacks(f"no {CONFIG}")
    optional = [TOKENIZER_SETTINGS]
    if MODULES_FILE in files:
        optional += [MODULES_FILE, SETTINGS_FILE, *LENGTH_FILES, *module_files(module_paths(files.fetch(MODULES_FILE)))]
    names = [CONFIG, *(name for name in optional if name in files)]
    return _fetch_all(files, names)


def _model_directory(files: Files) -> Path:
    if ADAPTER in files:
        raise files.lacks(f"an adapter (PEFT, LoRA), as its {ADAPTER} says, which is added to another model: {MERGE}")
    if CONFIG not in files:
        raise files.lacks(f"no {CONFIG}")
    head = [HEAD_FILE] if HEAD_FILE in files else []
    for name in _WEIGHTS:
        index = f"{name}.index.json"
        if name in files:
            return _fetch_all(files, (CONFIG, name, *head))
        if index in files:
            return _fetch_all(files, (CONFIG, index, *_shards(files, index, Path(name).suffix), *head))
    others = sorted(name for name in files.names() if _OTHER_WEIGHTS.fullmatch(name))
    if not isinstance(files, Online) or not any(name.endswith(".bin") for name in others):
        raise files.lacks(f"no {', no '.join(_WEIGHTS)}" + foreign_weights(files.names()))
    converted = _conversion(files, [CONFIG, *others])
    if converted is None:
        raise files.lacks(
            f"its weights only as {', '.join(others)}; a pickle can run arbitrary code and is never opened, and the "
            "hub's conversion bot offers no safetensors of it: ask its author for them, or convert it yourself if you "
            "trust it, and give the directory"
        )
    logger.warning(
        "%s has only %s: its weights are taken from %s, where the hub's conversion bot saved them as safetensors",
        files.hub_id,
        ", ".join(others),
        converted.hub_id,
    )
    return _model_directory(converted)


def _shards(files: Files, index: str, ending: str) -> list[str]:
    """Returns the files that an index names; the names are checked, because they become paths."""
    path = files.fetch(index)
    problem = f"{files.hub_id}: {index} is not an index of weights"
    weight_map = read_json(path).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise ValueError(f"{problem}: it has no weight_map")
    names = list(dict.fromkeys(map(str, weight_map.values())))
    for name in names:
        if not _SHARD.fullmatch(name) or not name.endswith(ending):
            raise ValueError(f"{problem}: it names {name!r:.200}, expected plain names of files *{ending}")
        if name not in files:
            raise files.lacks(f"{index}, but no {name}, which it names")
    return names


def _conversion(files: Online, originals: Collection[str]) -> Online | None:
    """Returns the open pull request of the hub's bot that adds safetensors to exactly these files, if there is one."""
    from huggingface_hub import HfApi

    def requests(**arguments: Any) -> list[Any]:
        found = HfApi().get_repo_discussions(author=_BOT, discussion_type="pull_request", **arguments)
        return list(itertools.islice(found, _MAX_REQUESTS))

    try:
        offered = ask(requests, files.hub_id, discussion_status="open")
    except ValueError:  # discussions may be disabled in a repository
        return None
    for request in offered:
        if (request.author, request.title, request.is_pull_request) != (_BOT, _BOT_TITLE, True):
            continue
        converted = resolve(HubId(files.hub_id.name, f"refs/pr/{int(request.num)}"))
        same = all(files.hashes[name] and converted.hashes.get(name) == files.hashes[name] for name in originals)
        if same and any(name in converted for name in (_WEIGHTS[0], f"{_WEIGHTS[0]}.index.json")):
            return converted
    return None
