"""What a program costs before it runs and while it runs: `python -m benchmarks.compile_vs_run`."""
