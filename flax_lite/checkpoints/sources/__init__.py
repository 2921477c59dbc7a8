"""Where a checkpoint comes from: a directory, the hub, a work directory."""
