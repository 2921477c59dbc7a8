"""Metrics, baselines, verdicts and files for submission."""
