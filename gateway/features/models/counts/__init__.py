"""Counts of a route's answers: as metrics, and as a list for the console."""
