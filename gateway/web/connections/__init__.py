"""A client's socket: accepted, parsed, bounded, and answered at once where possible."""
