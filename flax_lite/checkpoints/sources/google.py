"""Google's ALBERT and BERT checkpoints: TensorFlow 1 variables with albert_config.json or bert_config.json.

Their tensors are loaded like all others, by the rows of the family's table and the convention `GOOGLE`. This module
has the rest: which files make up a checkpoint, how its configuration is read, and which variables are not parameters.

Source: google-research/albert and google-research/bert, modeling.py, optimization.py, run_pretraining.py,
run_classifier.py, run_squad*.py.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from flax_lite.architecture.config import EncoderConfig
from flax_lite.architecture.registry import config_class
from flax_lite.checkpoints.checkpoint import GOOGLE, Checkpoint
from flax_lite.checkpoints.formats.tensors import StoredTensor, Tensors
from flax_lite.checkpoints.formats.tf_bundle import INDEX, read_bundle
from flax_lite.files.reading import is_there, read_bytes
from flax_lite.files.strict_json import read_json

# Parts of the names of training variables: from optimization.py and lamb_optimizer.py of both repositories,
# tf.train.AdamOptimizer, and the names that transformers' loaders skip.
_TRAINING = frozenset(
    {"adam_m", "adam_v", "Adam", "Adam_1", "AdamWeightDecayOptimizer", "AdamWeightDecayOptimizer_1", "lamb_m", "lamb_v"}
    | {"LAMBOptimizer", "LAMBOptimizer_1", "beta1_power", "beta2_power", "global_step"}
)
# Limit for the file `checkpoint`, which lists a few names.
_MAX_BYTES = 2**20
# TensorFlow 2 stores the graph of objects that defines its names under this key.
_OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
# `gelu` in google-research/albert, modeling.py, is the tanh approximation, with which the weights were trained; Hugging
# Face's config.json of the same weights has erf for v1 (flax_lite/families/albert.py). BERT's "gelu" is exact: so its
# code computed it until February 2019, when the models of 2018 were trained, and so do Hugging Face's copies.
_ALBERT_ACTIVATIONS = {"gelu": "gelu_new"}


def is_google(path: Path) -> bool:
    """Whether the path is a TensorFlow checkpoint (with or without `.index`), or a directory with one."""
    return bool(_prefixes(path))


def open_google(path: Path) -> Checkpoint:
    """Opens a checkpoint of Google's ALBERT or BERT code, pretrained or fine-tuned, or of one of their TF-Hub modules.

    ALBERT's "gelu" is read as "gelu_new", as Google's code computes it. The number of labels is read from the
    classifier, if there is one. Optimizer state is ignored.

    Args:
        path: the directory, or the checkpoint's path as TensorFlow takes it (`albert_base/model.ckpt-best`). If a
            directory has several checkpoints, the one named in its file `checkpoint` is opened.

    Raises:
        ValueError: if there is no checkpoint, or no way to choose one of several; if a file is missing or damaged; or
            if it is not such a model.
    """
    prefix = _prefix(path)
    file = _config_file(prefix)
    values = read_json(file)
    try:
        config = _config(values, file.name)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{file} does not describe a supported ALBERT or BERT: {error}") from error
    variables = read_bundle(prefix)
    if _OBJECT_GRAPH in variables:
        raise ValueError(
            f"{prefix}{INDEX} is a checkpoint of TensorFlow 2 objects (Keras), expected TensorFlow 1 variables as "
            "Google's albert and bert write them; save the model from there in Hugging Face's format"
        )
    tensors = {name: tensor for name, tensor in variables.items() if _TRAINING.isdisjoint(name.split("/"))}
    if not {"id2label", "num_labels"} & values.keys():
        config = _with_labels(config, tensors)
    return Checkpoint(Path(f"{prefix}{INDEX}"), config, {**tensors, **_omitted(config, tensors)}, GOOGLE)


def _prefixes(path: Path) -> list[Path]:
    """Returns the checkpoints that a path can refer to, without `.index`."""
    if path.is_dir():
        # TF-Hub modules have theirs in the subdirectory "variables".
        files = [*path.glob(f"*{INDEX}")] or [*path.glob(f"variables/variables{INDEX}")]
        return sorted(file.with_suffix("") for file in files)
    # The path may also be the name of one of the files.
    stem = re.sub(r"\.(index|meta|data-\d{5}-of-\d{5})$", "", path.name)
    candidates = (path, path.with_name(stem)) if stem else ()
    return [each for each in candidates if is_there(Path(f"{each}{INDEX}"))][:1]


def _prefix(path: Path) -> Path:
    prefixes = _prefixes(path)
    latest = _latest(path / "checkpoint") if len(prefixes) > 1 else None
    chosen = [prefix for prefix in prefixes if len(prefixes) == 1 or prefix.name == latest]
    if not prefixes:
        raise ValueError(f"{path} has no TensorFlow checkpoint: no file there is named PREFIX{INDEX}")
    if not chosen:
        raise ValueError(
            f"{path} has {len(prefixes)} TensorFlow checkpoints ({', '.join(each.name for each in prefixes)}); "
            f"name one of them, as in {prefixes[0]}"
        )
    return chosen[0]


def _latest(file: Path) -> str | None:
    """Returns the name of the latest checkpoint from TensorFlow's file, whose directories may be of another machine."""
    if not is_there(file):
        return None
    text = read_bytes(file, _MAX_BYTES).decode("utf-8", "replace")
    found = re.search(r'^model_checkpoint_path: "([^"]+)"$', text, re.MULTILINE)
    return Path(found[1]).name if found else None


def _config_file(prefix: Path) -> Path:
    """Returns the configuration in the directory of a checkpoint; TF-Hub modules are released without one."""
    directories = [prefix.parent, *([prefix.parent.parent] if prefix.parent.name == "variables" else [])]
    for pattern in ("*bert_config*.json", "config.json"):
        files = sorted(file for directory in directories for file in directory.glob(pattern))
        if len(files) == 1:
            return files[0]
        if files:
            raise ValueError(
                f"{directories[-1]} has {', '.join(file.name for file in files)}: keep only the one of {prefix.name}"
            )
    raise ValueError(
        f"{directories[-1]} has {prefix.name}{INDEX}, but no albert_config.json or bert_config.json: without it the "
        "architecture is unknown; copy the file from the model's archive there"
    )


def _config(values: Mapping[str, Any], file: str) -> EncoderConfig:
    if "model_type" in values:  # Hugging Face's config.json
        config = config_class(values["model_type"]).from_json_dict(values, file)
    elif "embedding_size" in values:
        activation = values.get("hidden_act", "gelu")
        activation = _ALBERT_ACTIVATIONS.get(activation, activation)
        config = config_class("albert").from_json_dict({**values, "hidden_act": activation}, file)
    else:
        config = config_class("bert").from_json_dict(values, file)
    _check_groups(config)
    return config


def _check_groups(config: EncoderConfig) -> None:
    depth, groups = config.num_hidden_layers, config.num_hidden_groups
    by_layer = [layer // config.inner_group_num for layer in config.layer_sequence()[:: config.inner_group_num]]
    if by_layer != [int(layer / depth * groups) for layer in range(depth)]:
        raise ValueError(
            f"Google's code and Hugging Face's, which is followed here, divide {depth} layers in {groups} groups in "
            "different ways: the model would compute another function"
        )


def _with_labels(config: EncoderConfig, tensors: Tensors) -> EncoderConfig:
    """Returns the config with the number of labels of the classifier, which is not in Google's config files."""
    for name, tensor in tensors.items():
        # The number of labels is bounded: the shape was compared with the size of the file.
        if GOOGLE.current_name(name) == "output_weights" and tensor.shape[1:] == (config.hidden_size,):
            labels = tuple(f"LABEL_{index}" for index in range(tensor.shape[0]))
            return config if len(labels) == config.num_labels else config.replace(labels=labels)
    return config


def _omitted(config: EncoderConfig, tensors: Tensors) -> dict[str, StoredTensor]:
    """Returns ALBERT's embedding projection as an identity, if Google's code omitted it because E = D."""
    width = config.hidden_size
    name = GOOGLE.below_prefix("albert", "encoder/embedding_hidden_mapping_in")
    present = any(GOOGLE.current_name(each).startswith(f"{name}/") for each in tensors)
    if not config.has_embedding_projection or config.embedding_size != width or present:
        return {}
    return {
        f"{name}/kernel": StoredTensor((width, width), "float32", lambda: np.eye(width, dtype=np.float32)),
        f"{name}/bias": StoredTensor((width,), "float32", lambda: np.zeros(width, np.float32)),
    }
