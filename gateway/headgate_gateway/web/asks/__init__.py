"""Requests by their plans: what equal requests have in common is decided once."""
