"""File formats of weights."""

__all__: list[str] = []  # internal
