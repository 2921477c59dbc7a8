"""The kinds of task: what a model predicts, and for which rows."""
