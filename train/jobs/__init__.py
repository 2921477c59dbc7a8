"""Jobs put together from their options."""
