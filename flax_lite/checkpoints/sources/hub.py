"""Models and tokenizers from the Hugging Face hub, by name.

A revision is resolved to one commit first, and every file comes from that commit. Only what is needed is downloaded,
into the cache that other tools use too (HF_HOME, HF_HUB_CACHE); a file that is there is not asked for again. With
HF_HUB_OFFLINE=1, and where the hub does not answer, the cache alone is used. Access to private models is the library's
affair (HF_TOKEN, `hf auth login`). Nothing fetched is ever executed: no pickle is downloaded, no code of a repository.
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

# In the order in which a directory is read.
_WEIGHTS = ("model.safetensors", "flax_model.msgpack")
_OTHER_WEIGHTS = re.compile(r"(pytorch_model|tf_model)[\w.-]*", re.ASCII)
# huggingface_hub/utils/_validators.py, validate_repo_id.
_MAX_NAME = 96
_PART = r"\w(?:[\w.-]*\w)?"
_NAME = re.compile(rf"(?:{_PART}/)?({_PART})", re.ASCII)
# What git allows in the name of a branch or tag, and is an ordinary relative path: it becomes one in the cache.
_REVISION = re.compile(r"\w[\w.+-]*(?:/\w[\w.+-]*)*", re.ASCII)
# The files one would name by themselves: "vocab.txt" that is not there is no model on the hub.
_FILE_ENDINGS = (".bin", ".ckpt", ".git", ".h5", ".json", ".model", ".msgpack", ".py", ".safetensors", ".txt")
_SHARD = re.compile(r"\w(?:[.-]?\w)*", re.ASCII)
# Who converts pickles on the hub, and under which title; anybody can open a pull request, nobody else under this name.
# transformers 4.57 and 5 safetensors_conversion.py, get_conversion_pr_reference.
_BOT = "SFconvertbot"
_BOT_TITLE = "Adding `safetensors` variant of this model"
_MAX_REQUESTS = 100


def parse_hub_id(source: str) -> HubId | None:
    """Reads "name", "owner/name" or either with "@revision".

    Returns:
        The id, or None for what cannot be one by the hub's own rules, and for the name of a file.
    """
    name, at, revision = source.partition("@")
    match = _NAME.fullmatch(name)
    if match is None or len(match[1]) > _MAX_NAME or "--" in name or ".." in name or name.endswith(_FILE_ENDINGS):
        return None
    if not at:
        return HubId(name)
    return HubId(name, revision) if _REVISION.fullmatch(revision) and ".." not in revision else None


def fetch_model(hub_id: HubId) -> Path:
    """Downloads config.json and the weights, a head's own file too, unless they are in the cache.

    Of several formats it takes safetensors, single or sharded, before flax_model.msgpack. Where the repository holds
    only a pickle, the safetensors are taken that the hub's conversion bot offers for it in a pull request, provided
    that they were made from this very pickle.

    Returns:
        The directory in the cache that holds them. It may hold other files too.

    Raises:
        ValueError: no such repository, revision or file, no permission, no weights that can be read, an index that
            names anything but weights beside it, no network and not in the cache, or a download that failed.
    """
    return _fetch(hub_id, _model_directory)


def fetch_tokenizer(hub_id: HubId) -> Path:
    """Downloads the tokenizer's files and config.json, as far as the repository has them.

    Returns:
        The directory in the cache that holds them.

    Raises:
        ValueError: as `fetch_model`, or no tokenizer in the repository.
    """
    return _fetch(hub_id, _tokenizer_directory)


def fetch_sentence_transformers(hub_id: HubId) -> Path:
    """Downloads config.json, and what sentence-transformers would read beside it, as far as the repository has it.

    Returns:
        The directory in the cache that holds them.

    Raises:
        ValueError: as `fetch_model`, or modules that cannot be read.
    """
    return _fetch(hub_id, _sentence_directory)


def _fetch(hub_id: HubId, choose: Callable[[Files], Path]) -> Path:
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return choose(Cached(hub_id, "HF_HUB_OFFLINE forbids to ask the hub: unset it once, with a network"))
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
        # A cache may hold a part of what there is.
        raise NoTokenizerError(str(lacking)) if isinstance(files, Online) else lacking
    return _fetch_all(files, [name for name in (*TOKENIZER_FILES, CONFIG) if name in files])


def _sentence_directory(files: Files) -> Path:
    if CONFIG not in files:
        raise files.lacks(f"no {CONFIG}")
    others = [TOKENIZER_SETTINGS]
    if MODULES_FILE in files:
        others += [MODULES_FILE, SETTINGS_FILE, *LENGTH_FILES, *module_files(module_paths(files.fetch(MODULES_FILE)))]
    names = [CONFIG, *(name for name in others if name in files)]
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
            f"its weights only as {', '.join(others)}; a pickle can run any code and is never opened, and the hub's "
            "conversion bot offers no safetensors of it: ask its author for them, or convert it yourself where you "
            "trust it, and give the directory"
        )
    logger.warning(
        "%s holds only %s: its weights come from %s, where the hub's conversion bot saved them as safetensors",
        files.hub_id,
        ", ".join(others),
        converted.hub_id,
    )
    return _model_directory(converted)


def _shards(files: Files, index: str, ending: str) -> list[str]:
    """The files that an index names: checked, because they become paths."""
    path = files.fetch(index)
    problem = f"{files.hub_id}: {index} is no index of weights"
    weight_map = read_json(path).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise ValueError(f"{problem}: it has no weight_map")
    names = list(dict.fromkeys(map(str, weight_map.values())))
    for name in names:
        if not _SHARD.fullmatch(name) or not name.endswith(ending):
            raise ValueError(f"{problem}: it names {name!r:.200}, expected files *{ending} beside it")
        if name not in files:
            raise files.lacks(f"{index}, but no {name}, which it names")
    return names


def _conversion(files: Online, originals: Collection[str]) -> Online | None:
    """The open pull request of the hub's bot that added safetensors beside these very originals."""
    from huggingface_hub import HfApi

    def requests(**arguments: Any) -> list[Any]:
        found = HfApi().get_repo_discussions(author=_BOT, discussion_type="pull_request", **arguments)
        return list(itertools.islice(found, _MAX_REQUESTS))

    try:
        offered = ask(requests, files.hub_id, discussion_status="open")
    except ValueError:  # a repository may have its discussions switched off
        return None
    for request in offered:
        if (request.author, request.title, request.is_pull_request) != (_BOT, _BOT_TITLE, True):
            continue
        converted = resolve(HubId(files.hub_id.name, f"refs/pr/{int(request.num)}"))
        same = all(files.hashes[name] and converted.hashes.get(name) == files.hashes[name] for name in originals)
        if same and any(name in converted for name in (_WEIGHTS[0], f"{_WEIGHTS[0]}.index.json")):
            return converted
    return None
