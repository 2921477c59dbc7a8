"""How much of a GPU the pretraining step uses, and PyTorch beside it: `python -m benchmarks.gpu_steps`."""
