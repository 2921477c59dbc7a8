"""Readers of labeled data."""
