"""File formats of weights."""

__all__: list[str] = []  # the library's own
