"""The cache: rendered responses are stored, and equal reads under way are shared."""
