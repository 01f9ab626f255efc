"""Rules of HTTP that hold for any server: targets, addresses, header fields, forwarding."""
