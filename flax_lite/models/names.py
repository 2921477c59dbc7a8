"""The tasks by name, apart from what computes them: a command's help needs no model."""

TASKS = ("fill-mask", "text-classification", "token-classification", "question-answering", "sentence-embedding")
