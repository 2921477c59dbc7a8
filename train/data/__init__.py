"""Data for pretraining and distillation: from documents to batches.

`sources` reads documents; `tokens` tokenizes them once and caches the result on disk; `pretraining` plans an epoch from
the lengths (`flax_lite.rows.pairs`, `flax_lite.rows.packing`), builds rows from the plan and loads them in batches.
None of these modules imports jax, so that worker processes start quickly.
"""
