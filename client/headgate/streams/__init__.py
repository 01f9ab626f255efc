"""Streams of a client: their messages are appended, read and followed decoded."""
