"""Copying streams between logs and servers, so that a copy can be stopped and repeated."""
