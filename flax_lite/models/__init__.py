"""The encoder, the task models, and reading and writing them."""
