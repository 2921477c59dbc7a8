"""The kinds of task: each encodes examples to rows and decodes predictions from logits."""
