"""Files on disk: safe opening, JSON and protocol buffers read with limits, directories replaced as a whole."""

__all__: list[str] = []  # internal
