"""The same work against other implementations of the three models, turn by turn in one run."""
