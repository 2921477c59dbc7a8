"""What can be watched of a run: rates, TensorBoard's files, profiles, memory; and the compiled programs that it keeps.

durations, pace, memory   how long steps take, what the devices do in that time, what they hold at most
tensorboard               the rows of metrics.jsonl as event files
profiling                 a trace of a few steps
compilation_cache         programs that the next run need not compile
"""
