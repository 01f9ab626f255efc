"""The questions of the console about routes, streams, readers and requests of this process."""
