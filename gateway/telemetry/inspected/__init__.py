"""Questions to a running gateway about live readers and about subscriptions, and their answers."""
