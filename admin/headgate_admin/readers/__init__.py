"""The readers and principals of a gateway: their lists, and the bans of operators."""
