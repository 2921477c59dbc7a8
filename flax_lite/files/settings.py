"""Tables of settings: how each key of a model's files is treated.

A key is used, is inert (no result depends on it), or is refused because it would change a result. Keys in no table are
kept and named in one warning, because they might matter.
"""

import dataclasses
import functools
import logging
from collections.abc import Iterable, Mapping
from typing import Any, Literal

logger = logging.getLogger("flax_lite")

# Values that mean "not set" in these files.
OFF = (None, False, 0, "", (), [], {})
_MAX_NAMED = 10


@dataclasses.dataclass(frozen=True)
class Setting:
    """How a key is treated.

    Attributes:
        use: "used" by the program, "inert" where no result depends on it, or "refused".
        why: for a refused key, its unsupported effect; for others, a note for the documentation.
        unless: for a refused key, the values that have no effect.
    """

    use: Literal["used", "inert", "refused"]
    why: str = ""
    unless: tuple[Any, ...] = OFF


Table = Mapping[str, Setting]


def used(*keys: str, why: str = "") -> dict[str, Setting]:
    """Rows for keys that the program reads."""
    return dict.fromkeys(keys, Setting("used", why))


def inert(*keys: str, why: str = "") -> dict[str, Setting]:
    """Rows for keys that change no result."""
    return dict.fromkeys(keys, Setting("inert", why))


def refused(*keys: str, why: str, unless: Iterable[Any] = OFF) -> dict[str, Setting]:
    """Rows for keys that would change a result in a way that is not supported."""
    return dict.fromkeys(keys, Setting("refused", why, tuple(unless)))


def check_settings(values: Mapping[str, Any], table: Table, file: str) -> None:
    """Checks the settings of a file: raises on those that would change a result, and warns once of unknown keys.

    Args:
        values: content of the file.
        table: the known keys.
        file: name of the file in messages.

    Raises:
        ValueError: naming every refused key with its value and its unsupported effect.
    """
    wrong = [
        f"{key}={shown(values[key])}: {row.why}"
        for key, row in table.items()
        if row.use == "refused" and key in values and not _is_one_of(values[key], row.unless)
    ]
    if wrong:
        raise ValueError(f"{file} says {'; and '.join(wrong)}. This is not supported")
    unknown = tuple(key for key in values if key not in table)
    if unknown:
        _warn(file, unknown)


@functools.lru_cache(maxsize=1024)  # a directory is read several times while a model is loaded
def _warn(file: str, unknown: tuple[str, ...]) -> None:
    more = f" and {len(unknown) - _MAX_NAMED} more" if len(unknown) > _MAX_NAMED else ""
    logger.warning(
        "%s has unknown keys, which are kept but have no effect: %s%s",
        file,
        # Untrusted text: repr() escapes terminal control codes and lone surrogates.
        ", ".join(repr(key)[1:-1][:100] for key in unknown[:_MAX_NAMED]),
        more,
    )


def _is_one_of(value: Any, values: Iterable[Any]) -> bool:
    # In Python True == 1, but in these files the two mean different things.
    return any(value == each and isinstance(value, bool) == isinstance(each, bool) for each in values)


def shown(value: Any) -> str:
    """Returns the repr of a value for a message, truncated after 100 characters."""
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:100]}..."
