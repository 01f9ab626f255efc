"""Deliveries to receivers: their queue and their bounds, the pauses between attempts, and calls."""
