"""The pretraining step's use of a GPU, compared with PyTorch: `python -m benchmarks.gpu_steps`."""
