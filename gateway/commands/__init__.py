"""Commands on one stream, for a terminal or a pipe, through any Durable Streams server."""
