"""A run: the loop, its checkpoints, its records, its work directory."""
