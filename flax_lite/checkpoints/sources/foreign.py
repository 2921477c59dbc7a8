"""Messages about directories without supported weights: the files they have instead, and what to do about them."""

import re
from collections.abc import Collection, Iterable
from pathlib import Path

from flax_lite.files.names import CONFIG
from flax_lite.files.reading import is_there
from flax_lite.files.strict_json import read_json

ADAPTER = "adapter_config.json"
MERGE = "merge the two with the library that made it (PEFT: model.merge_and_unload()) and save the merged model"
_MAX_NAMES = 10
_CONVERT = "ask its author for safetensors, or convert it if you trust it"
# Pattern of the full file name, what the file is, and what to do; the first row that matches counts.
_KINDS: tuple[tuple[str, str, str], ...] = (
    # Training state and indexes: not reported.
    (r"(training_args|optimizer|scheduler|scaler|random_states|rng_state)[\w-]*\.\w+|.*\.index\.json", "", ""),
    (r".*\.(bin|pt|pth|ckpt|pkl|pickle)", "a pickle, which can run arbitrary code and is never opened", _CONVERT),
    (r".*\.ot", "rust-bert's archive of libtorch, which contains a pickle and is never opened", _CONVERT),
    (
        r".*\.(h5|hdf5|keras)",
        "in the format of Keras (TensorFlow), which is not supported",
        "load it with transformers 4 (from_tf=True) and save it as safetensors",
    ),
    (
        r".*\.(onnx|tflite|pb|mlmodel|mlpackage|engine|xml)",
        "an exported program, whose weights have no names",
        "use the model that it was exported from",
    ),
    (r".*\.(gguf|ggml)", "quantized for llama.cpp, which is not supported", "use the model that it was made from"),
    (
        r".*\.(npz|npy)",
        "in NumPy's format, which is not supported",
        "save the arrays as safetensors, with PyTorch's names",
    ),
    (
        r".*\.(safetensors|msgpack)",
        "not named like the weights of a model",
        "rename it to model.safetensors (flax_model.msgpack) if it holds the whole model",
    ),
)
_SHARD = re.compile(r"(model|flax_model)-\d+-of-\d+\.(safetensors|msgpack)")


def foreign_weights(names: Iterable[str]) -> str:
    """Returns a message about unsupported weights among the names of files; empty if there are none."""
    ordered = sorted(names)
    if shards := [shard for name in ordered if (shard := _SHARD.fullmatch(name))]:
        index = f"{shards[0][1]}.{shards[0][2]}.index.json"
        return f"; {shards[0][0]} is a shard, but its index {index} does not exist"
    found: dict[int, list[str]] = {}
    for name in ordered:
        kind = next((number for number, (pattern, *_) in enumerate(_KINDS) if re.fullmatch(pattern, name)), 0)
        found.setdefault(kind, []).append(name)
    found.pop(0, None)
    return "".join(f"; {_listed(found[kind])} is {_KINDS[kind][1]}: {_KINDS[kind][2]}" for kind in sorted(found))


def describe_contents(directory: Path) -> str:
    """Returns a message about a directory without a model: unsupported weights, and models in its subdirectories."""
    below = sorted(
        file.parent.name
        for file in directory.glob(f"*/{CONFIG}")
        if any(file.parent.glob("model*.safetensors")) or any(file.parent.glob("flax_model*.msgpack"))
    )
    models = f"; there is a model in {_listed(below)}: give that directory" if below else ""
    return models + foreign_weights(entry.name for entry in directory.iterdir() if not entry.is_dir())


def refuse_adapter(directory: Path) -> None:
    """Raises ValueError for the directory of an adapter (PEFT), whose weights are added to those of a base model."""
    if not is_there(directory / ADAPTER):
        return
    try:
        base = read_json(directory / ADAPTER).get("base_model_name_or_path")
    except ValueError:
        base = None
    to = f" to {base!r:.100}" if isinstance(base, str) and base else ""
    raise ValueError(
        f"{directory} is an adapter (PEFT, LoRA), as its {ADAPTER} says: it holds weights to add{to}, not a model: "
        f"{MERGE}; if that has been done, remove {ADAPTER}"
    )


def _listed(names: Collection[str]) -> str:
    shown = ", ".join(list(names)[:_MAX_NAMES])
    return shown if len(names) <= _MAX_NAMES else f"{shown} and {len(names) - _MAX_NAMES} more"
