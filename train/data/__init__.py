"""Data for the jobs: from documents to batches.

`sources` reads documents, `preparation` tokenizes them once (`tokenizing`, `shards`, `index`) into a `store`; `pairs`
and `packing` plan an epoch from lengths, `rows` makes training rows from the plan, and `loader` reads rows in batches.
None of these imports jax, so worker processes start quickly; `batch_masks`, which does, is for the step.
"""
