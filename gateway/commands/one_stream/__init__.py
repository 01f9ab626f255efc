"""The commands on one stream, which speak to any Durable Streams server."""
