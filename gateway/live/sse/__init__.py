"""The SSE readers of a feed, and the end of their responses."""
