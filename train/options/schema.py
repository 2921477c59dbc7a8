"""The declaration of an option, and how its values are parsed, checked and compared.

The options themselves are in `train.options.tables` and `train.options.task_tables`. An option that is *fixed on
resume* changes the results, so a work directory keeps its value; a *free* one changes only how, how often or where
something is done. `total_steps` is the one fixed option that may grow, with --extend.
"""

import ast
import dataclasses
import difflib
import os
import re
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from train.errors import UserError

NAMES = tuple[str, ...]
REQUIRED: Any = object()  # the default of an option that every config has to set


@dataclasses.dataclass(frozen=True)
class Option:
    """One option of a job.

    Attributes:
      path: its name in the config, with its groups: "data.source".
      on_resume: "fixed" (may not change within a work directory) or "free".
      type: int, float, bool, str, tuple, or NAMES (a tuple of strings); `T | None` if it may be None.
      default: its value where a config does not set it; `REQUIRED` if every config has to.
      doc: one line for --help.
      choices: the allowed values, if they are few.
      words: strings that are allowed instead of a number.
      at_least: the smallest number allowed.
      above: an exclusive lower bound.
      implied: whether the option was added later, so that a work directory without it had it as None.
      is_path: whether it is a path or a tuple of paths, with or without a scheme; a leading ~ is expanded.
    """

    path: str
    on_resume: Literal["fixed", "free"]
    type: Any
    default: Any
    doc: str
    choices: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    at_least: float | None = None
    above: float | None = None
    implied: bool = False
    is_path: bool = False


_EXPECTED = {
    int: "a whole number, as 32",
    float: "a number, as 0.001",
    bool: "true or false",
    str: "text",
    tuple: "a tuple, as ('a','b')",
    NAMES: "names, as a,b",
}
# Arguments of Hugging Face's Trainer and of its example scripts (run_glue.py and others), and the options for them.
TRAINER_NAMES: Mapping[str, str] = {
    **dict.fromkeys(("max_steps", "num_train_steps", "num_training_steps"), "total_steps"),
    **dict.fromkeys(("num_train_epochs", "num_epochs", "n_epochs"), "epochs"),
    **dict.fromkeys(("per_device_train_batch_size", "train_batch_size"), "batch_size"),
    **dict.fromkeys(("per_device_eval_batch_size", "eval_batch_size"), "data.eval_tokens"),
    "gradient_accumulation_steps": "accumulation_steps",
    "lr": "optimizer.learning_rate",
    **dict.fromkeys(("warmup_ratio", "warmup_proportion"), "warmup_fraction"),
    "optim": "optimizer.name",
    "lr_scheduler_type": "optimizer.schedule",
    "adam_beta1": "optimizer.b1",
    "adam_beta2": "optimizer.b2",
    "adam_epsilon": "optimizer.eps",
    **dict.fromkeys(("max_grad_norm", "gradient_clipping"), "optimizer.clip_norm"),
    **dict.fromkeys(("max_seq_length", "max_seq_len", "max_length", "model_max_length"), "data.sequence_length"),
    **dict.fromkeys(("model_name_or_path", "model_name", "pretrained_model_name_or_path"), "init_from"),
    "tokenizer_name": "tokenizer",
    "output_dir": "workdir",
    "metric_for_best_model": "best_metric",
    "load_best_model_at_end": "keep_best",
    "early_stopping_patience": "early_stopping_evaluations",
    **dict.fromkeys(("eval_strategy", "evaluation_strategy"), "evaluations"),
    "eval_steps": "eval_every_steps",
    "save_steps": "checkpoint_every_steps",
    "save_total_limit": "keep_checkpoints",
    "logging_steps": "log_every_steps",
    "report_to": "tensorboard",
    **dict.fromkeys(("fp16", "bf16"), "execution.dtype"),
    "gradient_checkpointing": "execution.remat",
    "hub_model_id": "push_to_hub",
    **dict.fromkeys(("train_file", "train_dataset", "dataset_name"), "data.source"),
    **dict.fromkeys(("validation_file", "eval_dataset", "eval_file"), "data.eval_source"),
    **dict.fromkeys(("test_file", "test_dataset", "predict_file"), "data.test_source"),
    "text_column_name": "data.columns.text",
    "label_column_name": "data.columns.label",
    "max_train_samples": "data.max_train_examples",
    "max_eval_samples": "data.max_eval_examples",
    "preprocessing_num_workers": "data.prepare_workers",
    "dataloader_num_workers": "data.workers",
}
_BOOLS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def form_of(option: Option) -> tuple[type, bool]:
    """Returns the plain type of an option, and whether it may be None."""
    if isinstance(option.type, types.UnionType):
        (form,) = (member for member in typing.get_args(option.type) if member is not types.NoneType)
        return form, True
    return (tuple if option.type == NAMES else option.type), False


def parse(option: Option, text: str) -> Any:
    """Returns the value that `text` stands for on the command line; `none` is None.

    Raises:
      ValueError: the text does not have the option's type or range.
    """
    form, _ = form_of(option)
    if text.lower() == "none" and "none" not in option.choices:
        return check(option, None)
    if text in option.words:
        return text
    try:
        value = _names(text) if option.type == NAMES else _read(form, text)
    except (ValueError, SyntaxError, KeyError):
        raise ValueError(f"expected {_expected(option)}") from None
    return check(option, value)


def check(option: Option, value: Any) -> Any:
    """Returns `value` in the option's type.

    Raises:
      ValueError: the value does not have the option's type, or is not among its choices or in its range.
    """
    form, optional = form_of(option)
    if value in option.words:
        return value
    if value is None and "auto" in option.words:
        return "auto"  # execution.unroll: older command lines and work directories have none for auto
    if value is None:
        if optional:
            return None
        raise ValueError(f"cannot be none, expected {_expected(option)}")
    if form is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if form is tuple and isinstance(value, list):
        value = tuple(value)
    if option.type == NAMES and not _are_names(value):
        raise ValueError(f"is {value!r}, expected {_expected(option)}")
    if not isinstance(value, form) or (isinstance(value, bool) and form is not bool):
        raise ValueError(f"is {value!r}, expected {_expected(option)}")
    if option.choices and value not in option.choices:
        raise ValueError(f"is {value!r}, expected {_expected(option)}")
    if option.at_least is not None and not value >= option.at_least:
        raise ValueError(f"is {value!r}, expected at least {option.at_least}")
    if option.above is not None and not value > option.above:
        raise ValueError(f"is {value!r}, expected more than {option.above}")
    return expand_home(value) if option.is_path else value


def expand_home(value: Any) -> Any:
    """Returns a path, or each path of a tuple, with a leading ~ expanded, also after a scheme (`files:~/x`)."""
    if isinstance(value, (tuple, list)):
        return tuple(map(expand_home, value))
    if isinstance(value, str) and (found := re.fullmatch(r"(\w+:)?(~.*)", value, re.DOTALL)):
        return (found[1] or "") + os.path.expanduser(found[2])
    return value


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns {dotted path: value} of nested mappings; an empty mapping has no entry."""
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
        inner = nested
        for group in groups:
            inner = inner.setdefault(group, {})
        inner[name] = value
    return nested


def resolve(options: Sequence[Option], config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns {dotted path: value} of nested values, with the defaults of the options that they leave out."""
    return {option.path: option.default for option in options if option.default is not REQUIRED} | flatten(config)


def validate(options: Sequence[Option], config: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Resolves a config and checks it.

    Args:
      options: the job's table.
      config: nested values; an option that they leave out has its default.
      where: the config's name for messages.

    Returns:
      {dotted path: value} of every option, in the table's order.

    Raises:
      UserError: options are missing, unknown or of the wrong type; the message names all of them.
    """
    flat = resolve(options, config)
    known = {option.path: option for option in options}
    faults = [f"{path} is not an option{nearest(path, known)}" for path in flat if path not in known]
    faults += [f"{path} is missing ({option.doc})" for path, option in known.items() if path not in flat]
    values = {}
    for path, option in known.items():
        if path in flat:
            try:
                values[path] = check(option, flat[path])
            except ValueError as error:
                faults.append(f"{path} {error}")
    if faults:
        raise UserError(f"{where} does not fit this job:\n  " + "\n  ".join(faults))
    return values


def differences(
    options: Sequence[Option], old: Mapping[str, Any], new: Mapping[str, Any]
) -> dict[str, tuple[Any, Any]]:
    """Returns {path: (old, new)} of the options fixed on resume that differ.

    An option that `old` lacks was None there if it is implied; otherwise it does not differ.
    """
    known = [
        option.path for option in options if option.on_resume == "fixed" and (option.implied or option.path in old)
    ]
    return {path: (old.get(path), new[path]) for path in known if _plain(old.get(path)) != _plain(new[path])}


def nearest(given: str, known: Iterable[str]) -> str:
    """Returns ", nearest is X" for a misspelled name or one of Hugging Face's, or "" if no name is near."""
    names = list(known)
    end = given.rpartition(".")[2]
    for prefix in ("config.", ""):
        if (translated := f"{prefix}{TRAINER_NAMES.get(end)}") in names:
            return f", which is {translated} here"
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


def _are_names(value: Any) -> bool:
    return isinstance(value, tuple) and all(isinstance(each, str) and each for each in value)


def _names(text: str) -> tuple[str, ...]:
    """Returns the names of `a,b`; names that contain a comma are written as a Python tuple, `('a, b', 'c')`."""
    if text[:1] + text[-1:] not in ("()", "[]"):
        return tuple(name.strip() for name in text.split(",")) if text.strip() else ()
    value = ast.literal_eval(text)
    if not isinstance(value, (tuple, list)):
        raise ValueError
    return tuple(each if isinstance(each, str) else str(each) for each in value)


def _expected(option: Option) -> str:
    form, optional = form_of(option)
    form = NAMES if option.type == NAMES else form
    expected = " | ".join(option.choices) if option.choices else _EXPECTED[form]
    expected = " | ".join((*option.words, expected))
    return f"{expected}, or none" if optional else expected


def _plain(value: Any) -> Any:
    """Returns the value with tuples as lists, as JSON has them."""
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


Values = Mapping[str, Any]


def group(values: Values, name: str) -> dict[str, Any]:
    """Returns the values of the group `name`, without that prefix."""
    return {path.removeprefix(f"{name}."): value for path, value in values.items() if path.startswith(f"{name}.")}
