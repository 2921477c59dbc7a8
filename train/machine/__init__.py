"""The machine that a job runs on: paths, processes, hosts, devices, signals."""
