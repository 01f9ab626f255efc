"""Edges, an origin and viewers in one process, on a clock and a network that a seed rules."""
