"""Finding and loading config files.

A config file is Python with a function `get_config(variant: str = "") -> ConfigDict`, which sets the options that
differ from their defaults. These constants beside it are optional:

JOB           the job that the config is for: "pretrain" (the default), "distill" or "finetune"
TASK_OPTIONS  a fine-tuning config's table of options in `train.options.task_tables`, or {variant: table}
VARIANTS      names that may follow the colon, `FILE:VARIANT`; one has to, unless "" is among them
RECIPES       names that may follow a variant, `FILE:VARIANT,RECIPE`: the same task by another paper's recipe

Every config also takes `smoke`, alone or last: the same code path in seconds, on the built-in data. `get_config` gets
what follows the colon, once it is checked.
"""

import contextlib
import dataclasses
import difflib
import importlib.util
import os
import re
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from train.errors import UserError

SMOKE = "smoke"


@dataclasses.dataclass(frozen=True)
class LoadedConfig:
    """A loaded config file.

    Attributes:
      path: the file.
      name: the name of its work directory.
      job: the job that it is for.
      table: the name of the table of options that it is written for.
      values: the options that it sets, nested.
    """

    path: Path
    name: str
    job: str
    table: str
    values: dict[str, Any]


def config_files(folder: str = "configs") -> list[str]:
    """Returns the config files of the current directory's `configs/`, sorted."""
    return sorted(str(path) for path in Path(folder).glob("*.py") if not path.name.startswith("_"))


def load_config(spec: str) -> LoadedConfig:
    """Loads FILE or FILE:VARIANT.

    Raises:
      UserError: there is no such file or variant, or the file fails.
    """
    match = re.fullmatch(r"(.+?\.py)(?::(.*))?", os.path.expanduser(spec))
    path, variant = Path(match[1] if match else spec), (match[2] or "") if match else ""
    if match is None or not path.is_file():
        here = ", ".join(config_files()) or "none"
        raise UserError(f"there is no config file {path}{_near_file(path)}. Those in configs/: {here}")
    module = _execute(path)
    parts = _check_variant(module, path, [part.strip() for part in variant.split(",") if part.strip()])
    with _named_errors(path):
        config = module.get_config(",".join(parts))
    name, job = "-".join([path.stem, *parts]), getattr(module, "JOB", "pretrain")
    table = getattr(module, "TASK_OPTIONS", job)
    return LoadedConfig(path, name, job, table if isinstance(table, str) else table[parts[0]], config.to_dict())


def _check_variant(module: ModuleType, path: Path, parts: list[str]) -> list[str]:
    variants, recipes = (tuple(getattr(module, name, ())) for name in ("VARIANTS", "RECIPES"))
    named = [name for name in variants if name]
    unknown = [part for part in parts if part not in (*named, *recipes, SMOKE)]
    if unknown:
        raise UserError(f"{path} has no variant {', '.join(unknown)}; it has {', '.join([*named, *recipes, SMOKE])}")
    chosen, chosen_recipes = ([part for part in parts if part in group] for group in (named, recipes))
    if (variants and not chosen and "" not in variants) or len(chosen) > 1:
        raise UserError(f"{path} needs one variant: {', '.join(f'{path}:{name}' for name in named)}")
    if len(chosen_recipes) > 1:
        raise UserError(f"{path} takes one of {', '.join(recipes)}")
    return chosen + chosen_recipes + [SMOKE] * (SMOKE in parts)


def _execute(path: Path) -> ModuleType:
    # Configs import each other with `from configs import ...`, from whatever directory the job is started.
    checkout = str(Path(__file__).resolve().parents[2])
    if checkout not in sys.path:
        sys.path.append(checkout)
    spec = importlib.util.spec_from_file_location(f"config_{re.sub(r'[^0-9a-zA-Z]', '_', path.stem)}", path)
    if spec is None or spec.loader is None:
        raise UserError(f"{path} cannot be read as Python")
    module = importlib.util.module_from_spec(spec)
    with _named_errors(path):
        spec.loader.exec_module(module)
    if not hasattr(module, "get_config"):
        raise UserError(f"{path} is not a config: it has no get_config(variant)")
    return module


@contextlib.contextmanager
def _named_errors(path: Path) -> Iterator[None]:
    """Raises the errors of a config file as UserError, with file and line."""
    try:
        yield
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if Path(frame.filename) == path.absolute()]
        line = getattr(error, "lineno", None) or (lines[-1] if lines else None)
        where = f"{path}{f', line {line}' if line else ''}: {type(error).__name__}: {error}"
        unset = isinstance(error, (AttributeError, KeyError))
        hint = ". A config can read only the options that it or its base sets: others get their defaults later"
        raise UserError(where + hint * unset) from error


def _near_file(path: Path) -> str:
    files = config_files(str(path.parent)) or config_files()
    stems = {Path(file).stem: file for file in files}
    found = difflib.get_close_matches(path.stem, stems, n=1, cutoff=0.5)
    return f", nearest is {stems[found[0]]}" if found else ""
