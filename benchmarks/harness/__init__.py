"""The harness that all benchmarks share: circumstances, workers, timing, results, tables, plots and the command line.

A benchmark adds its cases, a worker that measures one case, and the columns and plots of its report.
"""
