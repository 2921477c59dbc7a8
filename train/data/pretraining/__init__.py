"""Pretraining rows of one run, and the batches made of them."""
