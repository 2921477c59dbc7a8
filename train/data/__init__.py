"""Data for the jobs: from documents to batches.

`sources` reads documents, `store` keeps them tokenised on disk, `pairs` plans segment pairs, `rows` makes training
rows from the plan, and `loader` reads rows in batches. None of them imports jax, so worker processes start quickly.
"""
