"""Labeled tasks of the built-in corpus; `table` lists them."""

from train.tasks.builtin.table import CHOICES, ENTAILMENT, SENTIMENT, SIMILARITY, SPANS, SPANS_V2, TAGS, BuiltinTask

__all__ = ["CHOICES", "ENTAILMENT", "SENTIMENT", "SIMILARITY", "SPANS", "SPANS_V2", "TAGS", "BuiltinTask"]
