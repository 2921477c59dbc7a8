"""The files by which the package sentence-transformers knows how a directory's encoder makes vectors of texts.

modules.json lists what follows on what: the encoder, a pooling with a config.json in a directory of its own, and
perhaps a normalisation. Source: sentence-transformers 2 to 5, modules/pooling.py, normalize.py, transformer.py.
"""

import dataclasses
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, cast, get_args

from flax_lite.architecture.registry import load_config
from flax_lite.files.names import CONFIG
from flax_lite.files.reading import is_there
from flax_lite.files.strict_json import read_json, read_json_list

Pooling = Literal["mean", "cls", "max"]
POOLINGS: tuple[str, ...] = get_args(Pooling)

MODULES_FILE = "modules.json"
# How the encoder's own settings are called, by the family it was first saved as.
LENGTH_FILES = ("sentence_bert_config.json", "sentence_distilbert_config.json", "sentence_albert_config.json")
POOLING_FILE = "config.json"
SETTINGS_FILE = "config_sentence_transformers.json"
_POOLING_DIRECTORY, _NORMALIZE_DIRECTORY = "1_Pooling", "2_Normalize"
# The older way to name a pooling: one flag each.
_FLAGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
_PATH = re.compile(r"\w[\w.-]*", re.ASCII)


@dataclasses.dataclass(frozen=True)
class SentenceLayout:
    """How vectors of texts are made.

    Attributes:
        pooling: of the tokens' states.
        normalize: whether to divide by the norm.
        max_length: tokens of a row; as many as the model takes if None.
    """

    pooling: Pooling = "mean"
    normalize: bool = False
    max_length: int | None = None


def read_sentence_transformers(directory: Path) -> SentenceLayout | None:
    """How the vectors of the model in a directory are made; None if it does not say so.

    Raises:
        ValueError: for modules other than an encoder, a pooling by mean, first token or maximum, and a normalisation,
            in this order, a prompt before every text, or files that cannot be read.
    """
    if not is_there(directory / MODULES_FILE):
        return None
    paths = module_paths(directory / MODULES_FILE)
    _check_prompt(directory / SETTINGS_FILE)
    config = read_json(directory / paths["Pooling"] / POOLING_FILE) if "Pooling" in paths else {}
    return SentenceLayout(_pooling(config, directory), "Normalize" in paths, _max_length(directory))


def module_paths(file: Path) -> dict[str, str]:
    """The modules that a modules.json lists, by kind, and their directories.

    Raises:
        ValueError: if they are not an encoder, a pooling and perhaps a normalisation.
    """
    modules = read_json_list(file)
    if not all(isinstance(module, Mapping) for module in modules):
        raise ValueError(f"{file} holds no list of modules")
    kinds = [str(module.get("type")).rpartition(".")[2] for module in modules]
    if kinds not in (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"]):
        raise ValueError(
            f"{file} lists {', '.join(kinds) or 'nothing'}; what can be read is Transformer, Pooling and perhaps "
            "Normalize, in this order"
        )
    paths = {kind: str(module.get("path", "")) for kind, module in zip(kinds, modules, strict=True)}
    if paths["Transformer"]:
        raise ValueError(
            f"{file} has its encoder in {paths['Transformer'][:100]!r} instead of beside it; give that directory as "
            "the model, and pooling and normalize as arguments"
        )
    if not _PATH.fullmatch(paths["Pooling"]):
        raise ValueError(f"{file} has its pooling in {paths['Pooling'][:100]!r}, expected a directory beside it")
    return paths


def write_sentence_transformers(
    directory: str | os.PathLike[str],
    pooling: str = "mean",
    *,
    normalize: bool = False,
    max_length: int | None = None,
) -> None:
    """Writes these files beside a saved model, for sentence-transformers and `flax_lite.pipeline`.

    Args:
        directory: holds config.json; a tokenizer's files should be there too.
        pooling: "mean", "cls" or "max".
        normalize: whether vectors are divided by their norm.
        max_length: tokens of a row, specials included; as many as the model takes if None.

    Raises:
        ValueError: for an unknown pooling, a length that the model does not take, or no model in the directory.
    """
    directory = Path(directory)
    if pooling not in POOLINGS:
        raise ValueError(f"pooling={pooling!r} is not known; choose from {', '.join(POOLINGS)}")
    if not (directory / CONFIG).is_file():
        raise ValueError(f"{directory} holds no config.json; save the model there first")
    config = load_config(directory)
    limit = config.max_position_embeddings
    if max_length is not None and not 3 <= max_length <= limit:
        raise ValueError(f"max_length={max_length}; expected 3 to {limit}, which the model's positions end at")
    kinds = {"Transformer": "", "Pooling": _POOLING_DIRECTORY} | (
        {"Normalize": _NORMALIZE_DIRECTORY} if normalize else {}
    )
    modules = [
        {"idx": index, "name": str(index), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for index, (kind, path) in enumerate(kinds.items())
    ]
    flags = {flag: mode == pooling for flag, mode in _FLAGS.items()}
    (directory / _POOLING_DIRECTORY).mkdir(exist_ok=True)
    _write(directory / _POOLING_DIRECTORY / POOLING_FILE, {"word_embedding_dimension": config.hidden_size, **flags})
    _write(directory / LENGTH_FILES[0], {"max_seq_length": max_length or limit, "do_lower_case": False})
    # Last: it is what makes the directory one of this layout.
    _write(directory / MODULES_FILE, modules)


def _pooling(config: Mapping[str, Any], directory: Path) -> Pooling:
    named = config.get("pooling_mode")
    modes = [mode for flag, mode in _FLAGS.items() if config.get(flag)] if named is None else named
    modes = [modes] if isinstance(modes, str) else modes or ["mean"]
    if not isinstance(modes, list) or len(modes) != 1 or modes[0] not in POOLINGS:
        raise ValueError(f"{directory} pools tokens by {modes}; what can be read is one of {', '.join(POOLINGS)}")
    return cast(Pooling, modes[0])


def _max_length(directory: Path) -> int | None:
    files = [directory / name for name in LENGTH_FILES if is_there(directory / name)]
    settings = read_json(files[0]) if files else {}
    if settings.get("do_lower_case"):
        raise ValueError(
            f"{files[0]} asks for lower-casing before the tokenizer, which is not done: set do_lower_case to false "
            "there and true in tokenizer_config.json"
        )
    length = settings.get("max_seq_length")
    if length is not None and (not isinstance(length, int) or length < 3):
        raise ValueError(f"{files[0]} says max_seq_length={length!r}; expected a number of tokens from 3 on")
    return length


def _check_prompt(file: Path) -> None:
    settings = read_json(file) if is_there(file) else {}
    name, prompts = settings.get("default_prompt_name"), settings.get("prompts")
    # A prompt may be empty: sentence-transformers writes those of "query" and "document" so.
    if name is not None and (not isinstance(prompts, Mapping) or prompts.get(name) != ""):
        raise ValueError(
            f"{file} asks for the prompt {str(name)[:100]!r} before every text, which is not done: set "
            "default_prompt_name to null there, and put the prompt before the texts yourself"
        )


def _write(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
