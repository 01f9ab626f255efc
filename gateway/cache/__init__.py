"""What makes many equal reads cost one: rendered answers kept, and reads in flight shared."""
