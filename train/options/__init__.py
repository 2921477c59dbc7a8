"""The options of the jobs: declarations, config files, command line."""
