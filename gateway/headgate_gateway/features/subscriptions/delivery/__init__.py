"""Deliveries to receivers: their queue, calls, keys, and the documents that store them."""
