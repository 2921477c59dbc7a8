"""A comparison with other implementations of the three models: `python -m benchmarks.peers`."""
