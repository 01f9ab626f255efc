"""The contract of a route, and what all routes of a process share."""
