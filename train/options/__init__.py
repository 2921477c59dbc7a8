"""A job's options, from its config and its command line."""
