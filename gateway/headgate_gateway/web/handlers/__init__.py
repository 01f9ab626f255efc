"""The handlers of parsed requests, one for each operation."""
