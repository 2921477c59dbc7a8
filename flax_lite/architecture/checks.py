"""What a config.json may say: types, ranges, and sizes that somebody could mean.

Nothing that a file says is believed to the point of allocating for it. What is left is compared with the weights when
they are loaded.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from flax_lite.files.settings import shown

_POSITIVE_FIELDS = frozenset(
    {
        "vocab_size",
        "embedding_size",
        "hidden_size",
        "num_hidden_layers",
        "inner_group_num",
        "num_attention_heads",
        "intermediate_size",
        "max_position_embeddings",
    }
)
# What a field of a type may hold, and how to say so. A truth value is no number, although Python counts with it.
_KINDS: Mapping[Any, tuple[tuple[type, ...], str]] = {
    int: ((int,), "a whole number"),
    int | None: ((int, type(None)), "a whole number or null"),
    float: ((int, float), "a number"),
    float | None: ((int, float, type(None)), "a number or null"),
    bool: ((bool,), "true or false"),
    str: ((str,), "text"),
    str | None: ((str, type(None)), "text or null"),
}
_LARGEST_SIZE = 2**31 - 1  # ids and axes are 32-bit numbers
_LARGEST_FLOAT32 = 3.4e38
_MOST_LAYERS = 4096  # four times the deepest published encoder (Wang et al., 2022, arXiv:2203.00555)
_MOST_SINUSOIDAL_POSITIONS = 2**16  # 128 times DistilBERT's; the table is computed whole, and no file holds it
_MOST_UNNAMED_LABELS = 2**16  # those that id2label names are as many as its file has room for


def check_types_and_sizes(config: Any) -> None:
    """Checks every field of a config by its annotation, and its sizes.

    Args:
        config: an `EncoderConfig`.

    Raises:
        ValueError: naming the first field that holds what it cannot.
    """
    # What a family derives from other fields is theirs to answer for.
    given = {field.name: field.type for field in dataclasses.fields(config) if field.init}
    for name, kind in given.items():
        _check_type(name, getattr(config, name), kind)
    for name in (name for name in given if name in _POSITIVE_FIELDS):
        _check_range(name, getattr(config, name), 1, _LARGEST_SIZE)
    _check_range("type_vocab_size", config.type_vocab_size, 0, _LARGEST_SIZE)
    if config.pad_token_id is not None:
        # From the end, where it is negative (torch.nn.Embedding, padding_idx).
        _check_range("pad_token_id", config.pad_token_id, -config.vocab_size, config.vocab_size - 1)
    for name in ("initializer_range", "layer_norm_eps"):
        _check_range(name, getattr(config, name), 0, _LARGEST_FLOAT32)
    applications = config.num_hidden_layers * config.inner_group_num
    _check_range("num_hidden_layers times inner_group_num", applications, 1, _MOST_LAYERS)
    if config.sinusoidal_positions:
        _check_range("max_position_embeddings", config.max_position_embeddings, 1, _MOST_SINUSOIDAL_POSITIONS)


def labels(id2label: Any, num_labels: Any, label2id: Any, default: tuple[str, ...]) -> tuple[str, ...]:
    """The labels of a config.json, as transformers reads them: by `id2label`, else as many as `num_labels` says.

    Raises:
        ValueError: if `label2id` alone names other labels, which transformers leaves out, or as `labels_in_order` and
            `unnamed_labels`.
    """
    if label2id is not None and not isinstance(label2id, Mapping):
        raise ValueError(f"label2id={shown(label2id)} must be an object that gives the id of each label")
    if id2label is not None:
        return labels_in_order(id2label)
    found = default if num_labels is None else unnamed_labels(num_labels)
    if label2id and dict(label2id) != {label: index for index, label in enumerate(found)}:
        raise ValueError(
            f"label2id={shown(dict(label2id))} names other labels than {shown(found)}, which is what "
            "transformers reads without id2label: write id2label too"
        )
    return found


def labels_in_order(id2label: Any) -> tuple[str, ...]:
    """The labels of config.json's `id2label`, by id.

    Raises:
        ValueError: if it does not number labels from 0 on, or names them by anything but text or a number.
    """
    if not isinstance(id2label, Mapping):
        raise ValueError(f"id2label={shown(id2label)} must be an object that gives the label of each id")
    by_id = {str(index): label for index, label in id2label.items()}
    ids = ", ".join(by_id)
    if by_id.keys() != {str(index) for index in range(len(id2label))}:
        raise ValueError(f"id2label must number its labels 0..{len(id2label) - 1}, got ids [{shown(ids)[1:-1]}]")
    labels = tuple(by_id[str(index)] for index in range(len(by_id)))
    if not all(isinstance(label, str | int) and not isinstance(label, bool) for label in labels):
        raise ValueError(f"id2label must name its labels by text, got {shown(labels)}")
    return tuple(str(label) for label in labels)


def unnamed_labels(num_labels: Any) -> tuple[str, ...]:
    """Labels for config.json's `num_labels`, as Hugging Face calls those without names.

    Raises:
        ValueError: if it is no number of labels.
    """
    _check_type("num_labels", num_labels, int)
    _check_range("num_labels", num_labels, 1, _MOST_UNNAMED_LABELS)
    return tuple(f"LABEL_{index}" for index in range(num_labels))


def class_names(architectures: Any) -> tuple[str, ...]:
    """The names in config.json's `architectures`.

    Raises:
        ValueError: if it is no list of names.
    """
    names = [] if architectures is None else architectures
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"architectures={shown(architectures)} must be a list of class names")
    return tuple(names)


def _check_type(name: str, value: Any, kind: Any) -> None:
    if kind not in _KINDS:
        return
    types, expected = _KINDS[kind]
    if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
        raise ValueError(f"{name}={shown(value)} must be {expected}")


def _check_range(name: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:
        raise ValueError(f"{name}={shown(value)} must lie between {least} and {most}")
