"""Labeled tasks: examples, readers, rows, and scores of predictions."""
