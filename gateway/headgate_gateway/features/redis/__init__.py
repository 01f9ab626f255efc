"""Keys and channels that features have beside the streams of a log in Redis."""
