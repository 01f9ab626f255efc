"""Copies of a data file that are complete and checked: verify, back up and restore."""
