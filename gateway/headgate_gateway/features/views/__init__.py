"""Views: one stream in the dialect that a client speaks, rendered once for all readers."""
