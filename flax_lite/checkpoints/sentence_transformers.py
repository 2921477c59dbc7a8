"""Reads and writes the files of the package sentence-transformers, which define how an encoder computes text vectors.

modules.json lists the modules in order: the encoder, a pooling, whose config.json is in a subdirectory, and optionally
a normalization. Source: sentence-transformers 2 to 6, files as listed in `flax_lite.checkpoints.sentence_settings`.
"""

import dataclasses
import json
import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, cast, get_args

from flax_lite.architecture.registry import load_config
from flax_lite.checkpoints import sentence_settings as known
from flax_lite.files.names import CONFIG
from flax_lite.files.names import SETTINGS_FILE as TOKENIZER_SETTINGS
from flax_lite.files.reading import is_there
from flax_lite.files.settings import Table, check_settings
from flax_lite.files.strict_json import read_json, read_json_list

Pooling = Literal["mean", "cls", "max"]
POOLINGS: tuple[str, ...] = get_args(Pooling)
Similarity = Literal["cosine", "dot", "euclidean", "manhattan"]

MODULES_FILE = "modules.json"
# Settings of the encoder; the name depends on the family that it was first saved as. The first existing file is read.
LENGTH_FILES = tuple(
    f"sentence_{name}_config.json"
    for name in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
)
MODULE_FILE = "config.json"
SETTINGS_FILE = "config_sentence_transformers.json"
POOLING_DIRECTORY, NORMALIZE_DIRECTORY = "1_Pooling", "2_Normalize"
# The files written here; files that are read may also be in directories of other names.
LAYOUT_FILES = (MODULES_FILE, SETTINGS_FILE, *LENGTH_FILES, POOLING_DIRECTORY, NORMALIZE_DIRECTORY)
# Prefix of the package's modules; a custom class of a repository may have the same name.
_PACKAGE = "sentence_transformers."
_INERT_MODULE = "Dropout"  # no effect outside of training
_PATH = re.compile(r"\w[\w.-]*", re.ASCII)


@dataclasses.dataclass(frozen=True)
class SentenceLayout:
    """How text vectors are computed.

    Attributes:
        pooling: of the hidden states of the tokens.
        normalize: whether vectors are divided by their norm.
        max_length: tokens of a sequence, specials included; the model's maximum if None.
        similarity: how vectors are compared.
    """

    pooling: Pooling = "mean"
    normalize: bool = False
    max_length: int | None = None
    similarity: Similarity = "cosine"


def read_sentence_transformers(directory: Path) -> SentenceLayout | None:
    """Reads how the model in a directory computes text vectors; returns None without a modules.json.

    The maximum length is that of `processing_kwargs`, else `max_seq_length`, else the tokenizer's `model_max_length`.

    Raises:
        ValueError: for modules other than an encoder, a pooling by mean, first token or maximum, and a normalization,
            in this order; for a prompt before every text or another setting that changes vectors; or for files that
            cannot be read.
    """
    if not is_there(directory / MODULES_FILE):
        return None
    paths = module_paths(directory / MODULES_FILE)
    similarity = _similarity(directory / SETTINGS_FILE)
    pooling = _pooling(directory / paths["Pooling"] / MODULE_FILE)
    if "Normalize" in paths:
        _read(directory / paths["Normalize"] / MODULE_FILE, known.NORMALIZE)
    return SentenceLayout(pooling, "Normalize" in paths, _max_length(directory), similarity)


def sentence_transformers_files(directory: Path) -> dict[str, Path]:
    """Returns the files that `read_sentence_transformers` reads, by path in the directory; {} without modules.json.

    Raises:
        ValueError: as `read_sentence_transformers`.
    """
    if read_sentence_transformers(directory) is None:
        return {}
    paths = module_paths(directory / MODULES_FILE)
    names = [MODULES_FILE, SETTINGS_FILE, *LENGTH_FILES, *module_files(paths)]
    return {name: directory / name for name in names if is_there(directory / name)}


def module_files(paths: Mapping[str, str]) -> list[str]:
    """Returns the config files of modules at the paths of `module_paths`; some versions do not write all of them."""
    return [f"{path}/{MODULE_FILE}" for kind, path in paths.items() if kind != "Transformer"]


def module_paths(file: Path) -> dict[str, str]:
    """Returns the directories of the modules in a modules.json, by kind; inert modules also have their number.

    Raises:
        ValueError: if the modules are not an encoder, a pooling and optionally a normalization, apart from inert ones
            after the pooling.
    """
    modules = read_json_list(file)
    if not all(isinstance(module, Mapping) for module in modules):
        raise ValueError(f"{file} is not a list of modules")
    check_settings({key: value for module in modules for key, value in module.items()}, known.MODULE, str(file))
    kinds = [_kind(module.get("type")) for module in modules]
    keys = [f"{kind} {index}" if kind == _INERT_MODULE and index > 1 else kind for index, kind in enumerate(kinds)]
    if [kind for kind in keys if not kind.startswith(f"{_INERT_MODULE} ")] not in (
        ["Transformer", "Pooling"],
        ["Transformer", "Pooling", "Normalize"],
    ):
        raise ValueError(
            f"{file} lists {', '.join(kinds) or 'nothing'}; supported are Transformer, Pooling and optionally "
            "Normalize, in this order"
        )
    paths = {kind: str(module.get("path", "")) for kind, module in zip(keys, modules, strict=True)}
    if paths["Transformer"]:
        raise ValueError(
            f"{file} has its encoder in {paths['Transformer'][:100]!r}, expected it in the same directory; give that "
            "directory as the model, and pooling and normalize as arguments"
        )
    for kind, path in paths.items():
        if kind != "Transformer" and not _PATH.fullmatch(path):
            raise ValueError(f"{file} has its {kind} in {path[:100]!r}, expected a plain directory name")
    return paths


def tokenizers_length(directory: Path, given: int | None = None) -> int | None:
    """Returns the maximum length in the tokenizer's settings; None if it is missing or not below the model's own.

    sentence-transformers truncates texts to this length if no other file has one.

    Args:
        directory: the model's.
        given: overrides the length in the file.

    Raises:
        ValueError: if the settings cannot be read, or the length is not a number of tokens.
    """
    file = directory / TOKENIZER_SETTINGS
    if given is None and is_there(file):
        settings = read_json(file)
        # max_len is the older name, read if the newer one is missing (transformers, tokenization_utils_base.py).
        value = settings.get("model_max_length", settings.get("max_len"))
        given = None if value is None else _length(file, "model_max_length", value)
    return None if given is None or given >= _positions(directory) else given


def _kind(name: Any) -> str:
    """Returns the class name of a module of the package, or the full name for another package."""
    text = str(name)
    return text.rpartition(".")[2] if text.startswith(_PACKAGE) else text[:100]


def write_sentence_transformers(
    directory: str | os.PathLike[str],
    pooling: str = "mean",
    *,
    normalize: bool = False,
    max_length: int | None = None,
) -> None:
    """Writes these files to the directory of a saved model, for sentence-transformers and `flax_lite.pipeline`.

    Args:
        directory: holds config.json; a tokenizer's files should be there too.
        pooling: "mean", "cls" or "max".
        normalize: whether vectors are divided by their norm.
        max_length: tokens of a sequence, specials included; the model's maximum if None.

    Raises:
        ValueError: for an unknown pooling, a length beyond the model's positions, or a directory without a model.
    """
    directory = Path(directory)
    if pooling not in POOLINGS:
        raise ValueError(f"pooling={pooling!r} is not known; choose from {', '.join(POOLINGS)}")
    if not (directory / CONFIG).is_file():
        raise ValueError(f"{directory} holds no config.json; save the model there first")
    config = load_config(directory)
    limit = config.max_position_embeddings
    if max_length is not None and not 3 <= max_length <= limit:
        raise ValueError(f"max_length={max_length}; expected 3 to {limit}, the number of the model's positions")
    kinds = {"Transformer": "", "Pooling": POOLING_DIRECTORY} | (
        {"Normalize": NORMALIZE_DIRECTORY} if normalize else {}
    )
    modules = [
        {"idx": index, "name": str(index), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for index, (kind, path) in enumerate(kinds.items())
    ]
    flags = {flag: mode == pooling for flag, mode in known.FLAGS.items()}
    (directory / POOLING_DIRECTORY).mkdir(exist_ok=True)
    _write(directory / POOLING_DIRECTORY / MODULE_FILE, {"word_embedding_dimension": config.hidden_size, **flags})
    _write(directory / LENGTH_FILES[0], {"max_seq_length": max_length or limit, "do_lower_case": False})
    # Written last, because this file marks the directory as one of this layout.
    _write(directory / MODULES_FILE, modules)


def _read(file: Path, table: Table) -> dict[str, Any]:
    """Returns the checked settings in a file; {} if the file does not exist."""
    settings = read_json(file) if is_there(file) else {}
    check_settings(settings, table, str(file))
    return settings


def _pooling(file: Path) -> Pooling:
    if not is_there(file):
        raise ValueError(f"{file} does not exist, but {MODULES_FILE} names it")
    config = _read(file, known.POOLING)
    named = config.get("pooling_mode")
    # Up to version 5, the flag of the mean is true by default.
    flags = {"pooling_mode_mean_tokens": True} | config
    modes = [mode for flag, mode in known.FLAGS.items() if flags.get(flag)] if named is None else named
    modes = [modes] if isinstance(modes, str) else modes or ["mean"]
    if not isinstance(modes, list) or len(modes) != 1 or modes[0] not in POOLINGS:
        raise ValueError(f"{file} pools tokens by {modes}; supported is one of {', '.join(POOLINGS)}")
    return cast(Pooling, modes[0])


def _max_length(directory: Path) -> int | None:
    """Returns the maximum length in the files; None if it is missing or not below the model's own."""
    files = [directory / name for name in LENGTH_FILES]
    file = next((each for each in files if is_there(each)), files[0])
    settings = _read(file, known.TRANSFORMER)
    arguments = {name: _arguments(file, settings, name) for name in known.ARGUMENTS}
    _check_modality(file, settings.get("modality_config"))
    lengths = {
        "processing_kwargs": arguments["processing_kwargs"].get("max_length"),
        "max_seq_length": settings.get("max_seq_length"),
        "tokenizer_args": arguments["tokenizer_args"].get("model_max_length"),
    }
    lengths = {name: _length(file, name, value) for name, value in lengths.items() if value is not None}
    if "processing_kwargs" not in lengths and len(set(lengths.values())) > 1:
        raise ValueError(
            f"{file} says max_seq_length={lengths['max_seq_length']}, and model_max_length={lengths['tokenizer_args']} "
            "in tokenizer_args: versions of sentence-transformers differ in which they use; remove one of them"
        )
    if "processing_kwargs" in lengths or "max_seq_length" in lengths:
        return int(min(next(iter(lengths.values())), _positions(directory)))
    return tokenizers_length(directory, lengths.get("tokenizer_args"))


def _positions(directory: Path) -> float:
    """Returns the number of the model's positions, beyond which sentence-transformers fails."""
    return load_config(directory).max_position_embeddings if is_there(directory / CONFIG) else math.inf


def _length(file: Path, name: str, value: Any) -> int:
    # Tokenizers without a limit have 1e30, as an integer or as a float.
    whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    if isinstance(value, bool) or not whole or value < 3:
        raise ValueError(f"{file} says {name}={value!r:.100}; expected a number of tokens, at least 3")
    return int(value)


def _arguments(file: Path, settings: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Returns the arguments that a file passes to transformers under a name or its newer name, all of them known."""
    names = (name, *(new for new, old in known.RENAMED.items() if old == name))
    given = next((settings[each] for each in names if settings.get(each)), {})
    if not isinstance(given, Mapping):
        raise ValueError(f"{file} says {name}={given!r:.100}; expected an object")
    if name == "processing_kwargs":  # "common" overrides "text"
        given = {**(given.get("text") or {}), **(given.get("common") or {})}
    unknown = [key for key in given if key not in known.ARGUMENTS[name]]
    if unknown:
        raise ValueError(f"{file} passes {', '.join(unknown):.200} to transformers in {name}. This is not supported")
    check_settings(given, known.ARGUMENTS[name], f"{file}, {name},")
    return dict(given)


def _check_modality(file: Path, modalities: Any) -> None:
    if modalities is None:
        return
    text = modalities.get("text") if isinstance(modalities, Mapping) else None
    if not isinstance(text, Mapping):
        raise ValueError(f"{file} says modality_config={modalities!r:.100}: the model does not take texts")
    check_settings(text, known.TEXT, f"{file}, modality_config,")


def _similarity(file: Path) -> Similarity:
    """Returns how vectors are compared, by default by their cosine; raises ValueError for a prompt."""
    settings = _read(file, known.PROMPTS)
    name, prompts = settings.get("default_prompt_name"), settings.get("prompts")
    # A prompt may be empty: sentence-transformers writes empty ones for "query" and "document".
    if name is not None and (not isinstance(prompts, Mapping) or prompts.get(name) != ""):
        raise ValueError(
            f"{file} asks for the prompt {str(name)[:100]!r} before every text, which is not supported: "
            "set default_prompt_name to null there, and prepend the prompt to the texts yourself"
        )
    similarity = settings.get("similarity_fn_name") or "cosine"
    if similarity not in get_args(Similarity):
        raise ValueError(
            f"{file} has similarity_fn_name {str(similarity)[:100]!r}; expected {', '.join(get_args(Similarity))}"
        )
    return similarity


def _write(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
