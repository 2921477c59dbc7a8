"""The machine under a job: paths, processes, hosts, devices, signals."""
