"""Rows of token ids: segment pairs, packing, masking, lengths."""
