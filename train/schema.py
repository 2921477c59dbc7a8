"""Every leaf of a job's config, declared once: path, part of the run's identity or free, type and meaning.

*identity* leaves decide which numbers come out: a difference on resume is refused. *free* leaves change only how, how
often or where. `total_steps` is the one identity leaf that may grow, with --extend.
"""

import ast
import dataclasses
import difflib
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from train.errors import UserError


@dataclasses.dataclass(frozen=True)
class Leaf:
    """One entry of a job's config.

    Attributes:
      path: where it stands in the config, groups separated by dots.
      kind: "identity" (may not change within a work directory) or "free".
      type: int, float, bool, str or tuple; `T | None` where the leaf may be nothing.
      doc: one line for --help.
      choices: the values it may take, when they are few.
      at_least: the smallest number it may be.
    """

    path: str
    kind: Literal["identity", "free"]
    type: Any
    doc: str
    choices: tuple[str, ...] = ()
    at_least: float | None = None


COMMON_LEAVES = (
    Leaf("seed", "identity", int, "seed of parameters, dropout, masks and data order", at_least=0),
    Leaf("batch_size", "identity", int, "rows per step, over all devices", at_least=1),
    Leaf("accumulation_steps", "identity", int, "micro-batches whose gradients make one step", at_least=1),
    Leaf("total_steps", "identity", int, "steps to train for; more of them on resume needs --extend", at_least=1),
    Leaf("log_every_steps", "free", int, "steps between two lines of metrics.jsonl", at_least=1),
    Leaf("eval_every_steps", "free", int, "steps between two evaluations", at_least=1),
    Leaf("checkpoint_every_steps", "free", int, "steps between two checkpoints", at_least=1),
    Leaf("keep_checkpoints", "free", int, "newest checkpoints to keep", at_least=1),
    Leaf("keep_best", "free", bool, "keep the best evaluated checkpoint too, and make it model/"),
    Leaf("plot", "free", bool, "draw loss.png and accuracy.png"),
    Leaf("init_from", "identity", str | None, "model to start from: directory, hub id, ...; none: drawn from the seed"),
    Leaf("data.source", "identity", str, "builtin | text:GLOB | parquet:GLOB | tfds:NAME[/CONFIG][:SPLIT]"),
    Leaf("data.mixture", "identity", tuple, "(('SOURCE', share of the text), ...), instead of data.source"),
    Leaf("data.eval_source", "identity", str | None, "held-out data; none: a fraction of data.source"),
    Leaf("data.eval_fraction", "identity", float, "held-out fraction of the documents, by hash", at_least=0),
    Leaf("data.max_eval_rows", "identity", int, "held-out rows scored at each evaluation", at_least=1),
    Leaf("data.sequence_length", "identity", int, "tokens per row, specials included", at_least=8),
    Leaf("data.workers", "free", int, "processes that prepare rows; 0: in this one", at_least=0),
    Leaf("data.prepare_workers", "free", int | None, "processes that tokenise; none: one for each core", at_least=1),
    Leaf("data.cache_dir", "free", str | None, "where tokenised data is kept; none: the user's cache"),
    Leaf("data.split_paragraphs", "identity", bool, "cut paragraphs into sentences"),
    Leaf("data.text_column", "identity", str, "where jsonl, parquet and tfds hold the text"),
    Leaf("data.tfds_dir", "free", str | None, "where tfds sets were prepared; none: tfds's own default"),
    Leaf("data.builtin_documents", "identity", int, "documents the built-in source generates", at_least=1),
    Leaf("tokenizer", "identity", str | None, "directory, file, hub id, or train:KIND:SIZE; none: init_from's"),
    Leaf("model.preset", "identity", str | None, "a released architecture, as albert-base-v2; none: init_from's"),
    Leaf("execution.dtype", "free", str, "computation type", choices=("auto", "float32", "bfloat16")),
    Leaf(
        "execution.unroll",
        "free",
        int | None,
        "layers unrolled per scan iteration, 0 all of them; none: chosen",
        at_least=0,
    ),
    Leaf("execution.remat", "free", str, "what the backward pass recomputes", choices=("none", "dots", "full")),
    Leaf("execution.attention", "free", str, "attention implementation", choices=("auto", "xla", "cudnn")),
    Leaf("execution.deterministic", "free", bool, "bit-equal reruns on GPU too, at some cost"),
    Leaf("optimizer.name", "identity", str, "update rule", choices=("lamb", "adamw")),
    Leaf("optimizer.learning_rate", "identity", float, "peak learning rate", at_least=0),
    Leaf("optimizer.schedule", "identity", str, "decay after warm-up", choices=("linear", "constant")),
    Leaf("optimizer.warmup_steps", "identity", int, "steps of linear warm-up", at_least=0),
    Leaf("optimizer.weight_decay", "identity", float, "decay of kernels and embeddings", at_least=0),
    Leaf("optimizer.b1", "identity", float, "first moment's decay", at_least=0),
    Leaf("optimizer.b2", "identity", float, "second moment's decay", at_least=0),
    Leaf("optimizer.eps", "identity", float, "added to the root of the second moment", at_least=0),
    Leaf("optimizer.clip_norm", "identity", float | None, "global gradient norm limit; none: no clipping", at_least=0),
    Leaf("mesh.data", "free", int, "devices that split the batch; -1: all that are left", at_least=-1),
    Leaf("mesh.fsdp", "free", int, "devices that split batch, parameters and optimizer state", at_least=-1),
)


def _overrides(rows: Iterable[tuple[str, type, str]]) -> tuple[Leaf, ...]:
    return tuple(
        Leaf(f"model.{name}", "identity", form | None, f"{doc}; none: the preset's") for name, form, doc in rows
    )


MODEL_LEAVES = _overrides(
    (
        ("embedding_size", int, "embedding width E"),
        ("hidden_size", int, "model width D"),
        ("num_hidden_layers", int, "depth"),
        ("num_hidden_groups", int, "groups that share parameters (ALBERT)"),
        ("inner_group_num", int, "layers inside a group (ALBERT)"),
        ("num_attention_heads", int, "attention heads N"),
        ("intermediate_size", int, "feed-forward width F"),
        ("hidden_act", str, "feed-forward activation"),
        ("hidden_dropout_prob", float, "dropout of embeddings and layer outputs"),
        ("attention_probs_dropout_prob", float, "dropout of attention probabilities"),
        ("max_position_embeddings", int, "longest sequence"),
        ("initializer_range", float, "deviation of the first kernels and embeddings"),
    )
)

PRETRAIN_LEAVES = (
    *COMMON_LEAVES,
    *MODEL_LEAVES,
    Leaf(
        "data.rows", "identity", str, "pairs with a sentence task, or single texts packed", choices=("pairs", "packed")
    ),
    Leaf("data.max_predictions", "identity", int, "masked positions per row, at most", at_least=1),
    Leaf("data.masked_fraction", "identity", float, "fraction of tokens to predict", at_least=0),
    Leaf(
        "data.masking",
        "identity",
        str,
        "masks drawn for each row, or single tokens over the whole batch, on the device",
        choices=("rows", "batch"),
    ),
    Leaf(
        "data.mask_smoothing",
        "identity",
        float,
        "masking=batch: chance of a token proportional to its count to the power of minus this",
        at_least=0,
    ),
    Leaf("data.max_ngram", "identity", int, "longest masked span in words", at_least=1),
    Leaf("data.whole_word", "identity", bool, "mask whole words"),
    Leaf("data.short_seq_prob", "identity", float, "probability of a shorter row", at_least=0),
    Leaf("data.pair_task", "identity", str, "what the sentence head learns", choices=("sop", "nsp")),
)

_EXPECTED = {
    int: "a whole number, as 32",
    float: "a number, as 0.001",
    bool: "true or false",
    str: "text",
    tuple: "a tuple, as ('a','b')",
}
_BOOLS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def form_of(leaf: Leaf) -> tuple[type, bool]:
    """Returns the plain type of a leaf and whether it may be None."""
    if isinstance(leaf.type, types.UnionType):
        (form,) = (member for member in typing.get_args(leaf.type) if member is not types.NoneType)
        return form, True
    return leaf.type, False


def parse(leaf: Leaf, text: str) -> Any:
    """Reads a value from the command line.

    Returns:
      The value in the leaf's type; `none` is None.

    Raises:
      ValueError: the text is not of the leaf's type or range.
    """
    form, optional = form_of(leaf)
    if text.lower() == "none" and "none" not in leaf.choices:
        if not optional:
            raise ValueError(f"cannot be none, expected {_expected(leaf)}")
        return None
    try:
        value = _read(form, text)
    except (ValueError, SyntaxError, KeyError):
        raise ValueError(f"expected {_expected(leaf)}") from None
    return check(leaf, value)


def check(leaf: Leaf, value: Any) -> Any:
    """Returns `value` in the leaf's type; raises ValueError where type, choices or range forbid it."""
    form, optional = form_of(leaf)
    if value is None:
        if optional:
            return None
        raise ValueError(f"cannot be none, expected {_expected(leaf)}")
    if form is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if form is tuple and isinstance(value, list):
        value = tuple(value)
    if not isinstance(value, form) or (isinstance(value, bool) and form is not bool):
        raise ValueError(f"is {value!r}, expected {_expected(leaf)}")
    if leaf.choices and value not in leaf.choices:
        raise ValueError(f"is {value!r}, expected {_expected(leaf)}")
    if leaf.at_least is not None and not value >= leaf.at_least:
        raise ValueError(f"is {value!r}, expected at least {leaf.at_least}")
    return value


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns {dotted path: value} of nested mappings; an empty group has no entry."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping) or hasattr(value, "items"):
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def nest(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Undoes `flatten`."""
    nested: dict[str, Any] = {}
    for path, value in flat.items():
        *groups, name = path.split(".")
        place = nested
        for group in groups:
            place = place.setdefault(group, {})
        place[name] = value
    return nested


def validate(leaves: Sequence[Leaf], config: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Checks a config against its table.

    Args:
      leaves: the job's table.
      config: nested values, one for every leaf.
      where: the config's name for messages.

    Returns:
      {dotted path: value}, in the table's order.

    Raises:
      UserError: a leaf is missing, unknown or of the wrong type; all of them are named.
    """
    flat = flatten(config)
    known = {leaf.path: leaf for leaf in leaves}
    faults = [f"{path} is not an option{nearest(path, known)}" for path in flat if path not in known]
    faults += [f"{path} is missing ({leaf.doc})" for path, leaf in known.items() if path not in flat]
    values = {}
    for path, leaf in known.items():
        if path in flat:
            try:
                values[path] = check(leaf, flat[path])
            except ValueError as error:
                faults.append(f"{path} {error}")
    if faults:
        raise UserError(f"{where} does not fit this job:\n  " + "\n  ".join(faults))
    return values


def differences(leaves: Sequence[Leaf], old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Returns {path: (old, new)} of the identity leaves that differ; one that `old` does not know does not differ."""
    paths = [leaf.path for leaf in leaves if leaf.kind == "identity"]
    return {path: (old[path], new[path]) for path in paths if path in old and _plain(old[path]) != _plain(new[path])}


def nearest(given: str, known: Iterable[str]) -> str:
    """Returns ", nearest is X" for a misspelt name, or "" when nothing is near."""
    names = list(known)
    end = given.rpartition(".")[2]
    same_end = [name for name in names if name.rpartition(".")[2] == end]
    # "lr" is how people abbreviate "learning_rate".
    abbreviated = [name for name in names if "".join(part[:1] for part in name.rpartition(".")[2].split("_")) == end]
    found = same_end or abbreviated or difflib.get_close_matches(given, names, n=1, cutoff=0.6)
    if not found:  # "lr_rate" is nearer to "learning_rate" than to "optimizer.learning_rate"
        ends = {name.rpartition(".")[2]: name for name in names}
        found = [ends[end] for end in difflib.get_close_matches(end, ends, n=1, cutoff=0.6)]
    return f", nearest is {found[0]}" if found else ""


def _read(form: type, text: str) -> Any:
    if form is bool:
        return _BOOLS[text.lower()]
    if form is tuple:
        return ast.literal_eval(text)
    if form is int:
        try:
            return int(text)
        except ValueError:  # 1e6 is how people write a million steps
            number = float(text)
            if not number.is_integer():
                raise
            return int(number)
    return form(text)


def _expected(leaf: Leaf) -> str:
    form, optional = form_of(leaf)
    expected = " | ".join(leaf.choices) if leaf.choices else _EXPECTED[form]
    return f"{expected}, or none" if optional else expected


def _plain(value: Any) -> Any:
    """Tuples as lists, as they come back from JSON."""
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value
