"""The streams of a route as its subscriptions see them: what is there, and what changes."""
