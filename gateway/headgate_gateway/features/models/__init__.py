"""Routes to model providers: each streamed completion becomes a stream that outlives its client."""
