"""Workers, one module for each implementation.

All but `flax_lite_worker` run in environments without this project's dependencies: they import only this package,
`benchmarks.harness.serving`, the standard library and their own libraries.
"""
