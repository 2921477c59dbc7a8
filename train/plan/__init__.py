"""Plans a run before it starts: `--dry_run [--target v5e:2x4]` of every job.

stand_in    random data with the shapes of a corpus that may take hours to prepare
rehearsal   the job built for the target's devices, on stand-in data
memory      bytes of activations, from shapes
estimate    memory, operations, collectives and time of a step, from shapes
program     collectives and memory of a compiled program
compiling   the step compiled for devices that need not be present, in a subprocess
report      the plan as printed
"""
