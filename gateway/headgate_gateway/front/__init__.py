"""The front: Caddy as a child of this server, which speaks TLS, HTTP/2 and HTTP/3 for it."""
