"""Client connections: accept, parse, limit, and answer at once where possible."""
