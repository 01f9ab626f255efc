"""Streams and their messages, as any client of the gateway has them."""
