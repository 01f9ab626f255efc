"""Live reads: one feed for each stream that is watched, shared by everybody who watches it."""
