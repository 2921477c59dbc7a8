"""Pretraining rows of a run, and their batches."""
