"""Requests as handlers see them, and the replies that handlers return."""
