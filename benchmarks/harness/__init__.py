"""The harness that all benchmarks share: circumstances, workers, timing, results, tables, plots and the command line.

A benchmark adds a dataclass of its cases, a worker that measures one case in a process of its own (`serving.serve`), a
`results.Row` with the numbers, and the columns and plots of its report. `command.measure_missing` resumes: it measures
the cases that the series of the present circumstances lacks, and writes the file after each. `--report` formats results
without measuring.
"""
