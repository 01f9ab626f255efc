"""The HTTP server: connections, routing, admission, handlers and responses as bytes."""
