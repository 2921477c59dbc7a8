"""Scripts that run the jobs on TPU VMs and under Slurm, and a doctor that checks a machine first."""
