"""Running the jobs elsewhere: TPU VMs and Slurm (the scripts), and what examines a machine before they run (doctor)."""
