"""Connections to hosts that a client or a subscriber names."""
