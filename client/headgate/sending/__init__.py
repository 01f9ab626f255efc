"""Sending many small chunks: in batches, each of them exactly once."""
