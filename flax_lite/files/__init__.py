"""What lies on disk: JSON read with limits, protocol buffers, directories written whole."""

__all__: list[str] = []  # the library's own
