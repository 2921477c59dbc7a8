"""Losses, objectives, optimizers and pure train steps."""
