"""Streams in a log of our own: decided by the rules of `protocol`, and stored in the log."""
