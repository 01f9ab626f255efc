"""The front: Caddy as a child of `headgate serve`."""
