"""TLS on the listeners: certificate files that are watched, and bounded handshakes."""
