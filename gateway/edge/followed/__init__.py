"""Streams of an origin that have live readers: one poll for all of them, compared and joined."""
