"""`auth = "origin"`: the origin of a route decides who may read, and is asked with a HEAD."""
