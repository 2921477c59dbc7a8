"""Where a checkpoint comes from: a directory, the hub, a work directory."""

__all__: list[str] = []  # the library's own
