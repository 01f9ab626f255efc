"""Subscriptions: which streams they have, when they wake, and who may subscribe."""
