"""Routes to model providers: each streaming answer becomes a stream that outlives its client."""
