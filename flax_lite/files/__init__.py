"""What lies on disk: files opened in one way, JSON read with limits, protocol buffers, directories written whole."""

__all__: list[str] = []  # the library's own
