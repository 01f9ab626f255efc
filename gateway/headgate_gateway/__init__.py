"""Headgate: a gateway and server for Durable Streams."""
