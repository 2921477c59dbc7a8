"""Benchmarks, one command each. They import the real models and steps and contain none of their own."""
