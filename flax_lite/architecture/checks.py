"""Checks of the values of a config.json: types, ranges and plausible sizes.

Sizes are checked before anything is allocated for them; loading then compares them with the weights.
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
# Types that a field of a given annotation accepts, and their description. A bool is not accepted as a number.
_KINDS: Mapping[Any, tuple[tuple[type, ...], str]] = {
    int: ((int,), "a whole number"),
    int | None: ((int, type(None)), "a whole number or null"),
    float: ((int, float), "a number"),
    float | None: ((int, float, type(None)), "a number or null"),
    bool: ((bool,), "true or false"),
    str: ((str,), "text"),
    str | None: ((str, type(None)), "text or null"),
}
_LARGEST_SIZE = 2**31 - 1  # ids and axes are 32-bit integers
_LARGEST_FLOAT32 = 3.4e38
_MOST_LAYERS = 4096  # four times the deepest published encoder (Wang et al., 2022, arXiv:2203.00555)
_MOST_SINUSOIDAL_POSITIONS = 2**16  # 128 times DistilBERT's; the table is computed, so no file bounds its size
_MOST_UNNAMED_LABELS = 2**16  # labels named by id2label are bounded by the size of the file


def check_types_and_sizes(config: Any) -> None:
    """Checks the type and the range of every field.

    Args:
        config: an `EncoderConfig`.

    Raises:
        ValueError: naming the first field with a wrong type or value.
    """
    # Fields with init=False are derived from the others by the family.
    given = {field.name: field.type for field in dataclasses.fields(config) if field.init}
    for name, kind in given.items():
        _check_type(name, getattr(config, name), kind)
    for name in (name for name in given if name in _POSITIVE_FIELDS):
        _check_range(name, getattr(config, name), 1, _LARGEST_SIZE)
    _check_range("type_vocab_size", config.type_vocab_size, 0, _LARGEST_SIZE)
    if config.pad_token_id is not None:
        # A negative id counts from the end (torch.nn.Embedding, padding_idx).
        _check_range("pad_token_id", config.pad_token_id, -config.vocab_size, config.vocab_size - 1)
    for name in ("initializer_range", "layer_norm_eps"):
        _check_range(name, getattr(config, name), 0, _LARGEST_FLOAT32)
    applications = config.num_hidden_layers * config.inner_group_num
    _check_range("num_hidden_layers times inner_group_num", applications, 1, _MOST_LAYERS)
    if config.sinusoidal_positions:
        _check_range("max_position_embeddings", config.max_position_embeddings, 1, _MOST_SINUSOIDAL_POSITIONS)


def labels(id2label: Any, num_labels: Any, label2id: Any, default: tuple[str, ...]) -> tuple[str, ...]:
    """Returns the labels of a config.json as transformers reads them: from `id2label`, else `num_labels` unnamed ones.

    Raises:
        ValueError: if `label2id` without `id2label` names other labels, which transformers ignores, or as
            `labels_in_order` and `unnamed_labels`.
    """
    if label2id is not None and not isinstance(label2id, Mapping):
        raise ValueError(f"label2id={shown(label2id)} must be an object that gives the id of each label")
    if id2label is not None:
        return labels_in_order(id2label)
    found = default if num_labels is None else unnamed_labels(num_labels)
    if label2id and dict(label2id) != {label: index for index, label in enumerate(found)}:
        raise ValueError(
            f"label2id={shown(dict(label2id))} names other labels than {shown(found)}, which "
            "transformers reads without id2label: write id2label too"
        )
    return found


def labels_in_order(id2label: Any) -> tuple[str, ...]:
    """Returns the labels of config.json's `id2label`, in order of their ids.

    Raises:
        ValueError: if the ids are not 0..n-1, or a label is neither text nor a whole number.
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
    """Returns the names that Hugging Face gives to `num_labels` unnamed labels.

    Raises:
        ValueError: if it is not a whole number from 1 on, or too large.
    """
    _check_type("num_labels", num_labels, int)
    _check_range("num_labels", num_labels, 1, _MOST_UNNAMED_LABELS)
    return tuple(f"LABEL_{index}" for index in range(num_labels))


def class_names(architectures: Any) -> tuple[str, ...]:
    """Returns the class names in config.json's `architectures`.

    Raises:
        ValueError: if it is not a list of names.
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
