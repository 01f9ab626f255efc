"""Requests to an origin that are under way, and everybody who waits for one of them."""
