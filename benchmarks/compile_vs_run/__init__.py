"""Compile time against run time: `python -m benchmarks.compile_vs_run`."""
