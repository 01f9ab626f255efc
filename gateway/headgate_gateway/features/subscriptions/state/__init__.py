"""A subscription in memory: its configuration, its owner, its links, and its deliveries."""
