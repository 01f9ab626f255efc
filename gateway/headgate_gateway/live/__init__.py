"""Live reads: one feed for each stream that is followed, shared by all its readers."""
