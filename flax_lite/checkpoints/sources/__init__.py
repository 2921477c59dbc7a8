"""Sources of checkpoints: a directory, the hub, a work directory."""

__all__: list[str] = []  # internal
