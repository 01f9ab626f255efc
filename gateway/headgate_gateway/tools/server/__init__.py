"""Requests of commands and tools to a server, and to its admin listener."""
