"""The record of the last day's counts, and conclusions from it."""
