"""What a run will take, before it runs: `--dry_run [--target v5e:2x4]` of every job.

target      devices that are meant, by name
stand_in    data of the right shapes for a job whose own may take hours to prepare
memory      parameters, optimizer state and activations on a device, from sizes alone
estimate    these, with operations, collectives and time, put together
program     what a compiled step holds: collectives and memory
compiling   the step compiled for devices that are not here, in a process of its own
report      all of it as lines for a person
"""
