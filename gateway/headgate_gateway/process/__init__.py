"""A gateway in one process: its parts put together, its configuration, and reloads of that."""
