"""What lies on disk: JSON read with limits, protocol buffers, directories written whole."""
