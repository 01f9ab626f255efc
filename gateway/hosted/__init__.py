"""Streams that are kept here, in a log of our own."""
