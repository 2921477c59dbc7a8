"""What runs in a process of its own, one module for each implementation.

All but `ours` run in environments that do not have this project's dependencies: they import what is in this package,
the standard library and their own libraries only.
"""
