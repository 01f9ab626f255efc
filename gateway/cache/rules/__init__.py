"""What may be cached, for how long and for whom: decisions without state."""
