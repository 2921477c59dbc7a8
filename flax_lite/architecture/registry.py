"""The registry of encoder families: one record each, registered by `flax_lite.families`."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flax_lite.architecture.config import EncoderConfig
from flax_lite.architecture.weights import WeightTable
from flax_lite.files.names import CONFIG
from flax_lite.files.settings import shown
from flax_lite.files.strict_json import read_json


@dataclasses.dataclass(frozen=True)
class Family:
    """A family of encoders.

    Attributes:
        config: its configuration class, whose `model_type` is the name of the family.
        weights: its weight table.
        distinctive_keys: keys that identify a config.json of the family without a `model_type`.
    """

    config: type[EncoderConfig]
    weights: WeightTable
    distinctive_keys: frozenset[str]


_FAMILIES: dict[str, Family] = {}


def register(family: Family) -> None:
    """Registers a family; replaces a registered family of the same name."""
    _FAMILIES[family.config.model_type] = family


def families() -> tuple[Family, ...]:
    """Returns all families, sorted by name."""
    return tuple(_FAMILIES[name] for name in sorted(_FAMILIES))


def weight_tables() -> tuple[WeightTable, ...]:
    """Returns the weight tables of all families."""
    return tuple(family.weights for family in families())


def weight_table(config: EncoderConfig) -> WeightTable:
    """Returns the weight table of a configuration's family; raises as `config_class`."""
    return _family(config.model_type).weights


def config_class(model_type: str) -> type[EncoderConfig]:
    """Returns the configuration class for a `model_type` of config.json.

    Raises:
        ValueError: for an unknown family.
    """
    return _family(model_type).config


def _family(model_type: str) -> Family:
    if model_type not in _FAMILIES:
        raise ValueError(
            f"model_type {shown(model_type)} is not supported; flax_lite reads {', '.join(sorted(_FAMILIES))}"
        )
    return _FAMILIES[model_type]


def preset(name: str, **changes: Any) -> EncoderConfig:
    """Returns the configuration of a published checkpoint of any family.

    Raises:
        ValueError: if no family has a preset of this name; the message lists all presets.
    """
    for family in families():
        if name in family.config.presets:
            return family.config.from_preset(name, **changes)
    names = (name for family in families() for name in family.config.presets)
    raise ValueError(f"no preset is called {name!r}; there are {', '.join(names)}")


def _family_by_keys(values: Mapping[str, Any]) -> str | None:
    """Returns the name of the first registered family whose distinctive keys are all in a config.json, if there is one.

    Files of 2019 and some conversions have no model_type. Loading the weights checks the result, tensor by tensor.
    """
    return next((name for name, family in _FAMILIES.items() if family.distinctive_keys <= values.keys()), None)


def load_config(path: str | Path) -> EncoderConfig:
    """Reads a config.json, or the one in a directory.

    Raises:
        ValueError: if it is not JSON, names no family or an unsupported one, or holds invalid values.
    """
    file = Path(path)
    file = file / CONFIG if file.is_dir() else file
    values = read_json(file)
    model_type = values.get("model_type") or _family_by_keys(values)
    if not isinstance(model_type, str):
        raise ValueError(f"{file} names no model_type; expected one of {', '.join(sorted(_FAMILIES))}")
    try:
        family = config_class(model_type)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error
    return family.from_json_dict({**values, "model_type": model_type}, str(file))
