"""Purges of deleted streams, at the caches in front of the gateway."""
