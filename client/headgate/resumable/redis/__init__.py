"""Streams that live in Redis for as long as they are produced: its keys, and its channels."""
