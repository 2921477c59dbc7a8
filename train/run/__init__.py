"""One training run: the loop, its checkpoints, its records and its work directory."""
