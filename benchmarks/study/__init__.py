"""A comparison of encoders: size, cost, quality, and the claims of their papers: `python -m benchmarks.study`."""
