"""Labeled tasks: their examples, where these are read from, how predictions are scored."""
