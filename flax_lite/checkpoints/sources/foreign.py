"""What lies in a directory in the place of weights that are read: named, with what to do about it."""

import re
from collections.abc import Collection, Iterable
from pathlib import Path

from flax_lite.files.names import CONFIG
from flax_lite.files.reading import is_there
from flax_lite.files.strict_json import read_json

ADAPTER = "adapter_config.json"
MERGE = "merge the two with the library that made it (PEFT: model.merge_and_unload()) and save the whole"
_MAX_NAMES = 10
_CONVERT = "ask its author for safetensors, or convert it where you trust it"
# Files by the whole of their names, what they are, and what to do; the first row that fits counts.
_KINDS: tuple[tuple[str, str, str], ...] = (
    # A run's state: of no use to who wants the model, and never the reason why there is none.
    (r"(training_args|optimizer|scheduler|scaler|random_states|rng_state)[\w-]*\.\w+|.*\.index\.json", "", ""),
    (r".*\.(bin|pt|pth|ckpt|pkl|pickle)", "a pickle, which can run any code and is never opened", _CONVERT),
    (r".*\.ot", "rust-bert's archive of libtorch, which holds a pickle and is never opened", _CONVERT),
    (
        r".*\.(h5|hdf5|keras)",
        "of Keras (TensorFlow), which is not read",
        "load it with transformers 4 (from_tf=True) and save it from there as safetensors",
    ),
    (
        r".*\.(onnx|tflite|pb|mlmodel|mlpackage|engine|xml)",
        "an exported program, whose weights have lost their names",
        "take the model that it was exported from",
    ),
    (r".*\.(gguf|ggml)", "quantized for llama.cpp, which is not read", "take the model that it was made from"),
    (r".*\.(npz|npy)", "NumPy's, which is not read", "save the arrays as safetensors, under PyTorch's names"),
    (
        r".*\.(safetensors|msgpack)",
        "called otherwise than the weights of a model are",
        "rename it to model.safetensors (flax_model.msgpack) if all of the model is in it",
    ),
)
_SHARD = re.compile(r"(model|flax_model)-\d+-of-\d+\.(safetensors|msgpack)")


def foreign_weights(names: Iterable[str]) -> str:
    """What to say of weights in a form that is not read, by the names of files; empty if there are none."""
    ordered = sorted(names)
    if shards := [shard for name in ordered if (shard := _SHARD.fullmatch(name))]:
        index = f"{shards[0][1]}.{shards[0][2]}.index.json"
        return f"; {shards[0][0]} is a shard, but {index}, which says what is where, is not there"
    found: dict[int, list[str]] = {}
    for name in ordered:
        kind = next((number for number, (pattern, *_) in enumerate(_KINDS) if re.fullmatch(pattern, name)), 0)
        found.setdefault(kind, []).append(name)
    found.pop(0, None)
    return "".join(f"; {_listed(found[kind])} is {_KINDS[kind][1]}: {_KINDS[kind][2]}" for kind in sorted(found))


def describe_contents(directory: Path) -> str:
    """What to say of a directory without a model: weights in another form, or models in directories below it."""
    below = sorted(
        file.parent.name
        for file in directory.glob(f"*/{CONFIG}")
        if any(file.parent.glob("model*.safetensors")) or any(file.parent.glob("flax_model*.msgpack"))
    )
    models = f"; {_listed(below)} in it holds a model: give that directory" if below else ""
    return models + foreign_weights(entry.name for entry in directory.iterdir() if not entry.is_dir())


def refuse_adapter(directory: Path) -> None:
    """Raises ValueError for the directory of an adapter (PEFT), whose weights are nothing without those of its base."""
    if not is_there(directory / ADAPTER):
        return
    try:
        base = read_json(directory / ADAPTER).get("base_model_name_or_path")
    except ValueError:
        base = None
    to = f" to {base!r:.100}" if isinstance(base, str) and base else ""
    raise ValueError(
        f"{directory} is an adapter (PEFT, LoRA), as its {ADAPTER} says: it holds what is added{to}, not a model: "
        f"{MERGE}; if that has been done, remove {ADAPTER}"
    )


def _listed(names: Collection[str]) -> str:
    shown = ", ".join(list(names)[:_MAX_NAMES])
    return shown if len(names) <= _MAX_NAMES else f"{shown} and {len(names) - _MAX_NAMES} more"
