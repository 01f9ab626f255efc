"""Static tokens in a file: who has one, what it permits, and what has been revoked."""
