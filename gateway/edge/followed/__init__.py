"""Streams of an origin that have live readers: one long-poll a stream serves all of them."""
