"""Tokenizing a corpus and caching the tokens on disk."""
