"""Metrics, baselines, and files of predictions."""
