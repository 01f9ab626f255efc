"""Streams of an HTTP origin: what is kept of them, followed and passed on."""
