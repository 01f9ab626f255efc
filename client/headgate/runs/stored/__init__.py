"""A run in its streams: how it is written, found, read and deleted."""
