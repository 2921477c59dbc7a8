"""The encoders compared: what they weigh, what they cost, how good they are, and what their papers say of it."""
