"""Tables of settings: what is made of every key that somebody's file may hold.

A key is used, changes nothing here, or is refused where it would change a result. Keys of no table are left as they
are, and named in one warning: what nobody has looked at may matter.
"""

import dataclasses
import functools
import logging
from collections.abc import Iterable, Mapping
from typing import Any, Literal

logger = logging.getLogger("flax_lite")

# Values by which files say of a setting that it is not there.
OFF = (None, False, 0, "", (), [], {})
_MOST_NAMED = 10


@dataclasses.dataclass(frozen=True)
class Setting:
    """What is made of a key.

    Attributes:
        use: "used" by the program, "inert" where no result depends on it, or "refused".
        why: of a refused key, what it would do that is not done here; of others, a note for the documentation.
        unless: of a refused key, the values under which it does nothing.
    """

    use: Literal["used", "inert", "refused"]
    why: str = ""
    unless: tuple[Any, ...] = OFF


Table = Mapping[str, Setting]


def used(*keys: str, why: str = "") -> dict[str, Setting]:
    """Rows of keys that the program reads."""
    return dict.fromkeys(keys, Setting("used", why))


def inert(*keys: str, why: str = "") -> dict[str, Setting]:
    """Rows of keys that change no result."""
    return dict.fromkeys(keys, Setting("inert", why))


def refused(*keys: str, why: str, unless: Iterable[Any] = OFF) -> dict[str, Setting]:
    """Rows of keys that would change a result in a way that is not supported."""
    return dict.fromkeys(keys, Setting("refused", why, tuple(unless)))


def check_settings(values: Mapping[str, Any], table: Table, file: str) -> None:
    """Refuses what would change a result, and warns once of keys that the table lacks.

    Args:
        values: what a file holds.
        table: what is known of its keys.
        file: how messages call it.

    Raises:
        ValueError: naming every refused key with its value, and what it would do.
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
    more = f" and {len(unknown) - _MOST_NAMED} more" if len(unknown) > _MOST_NAMED else ""
    logger.warning(
        "%s has keys that are not known here, kept but without effect: %s%s",
        file,
        # A stranger's text: without what a terminal would obey, or no encoding can hold.
        ", ".join(repr(key)[1:-1][:100] for key in unknown[:_MOST_NAMED]),
        more,
    )


def _is_one_of(value: Any, values: Iterable[Any]) -> bool:
    # Python's True equals 1, but files mean different things by the two.
    return any(value == each and isinstance(value, bool) == isinstance(each, bool) for each in values)


def shown(value: Any) -> str:
    """A value as a message shows it: the beginning of a long one."""
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:100]}..."
