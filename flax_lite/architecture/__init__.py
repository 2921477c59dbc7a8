"""What a model is: its configuration and the rows that name its weights elsewhere."""
