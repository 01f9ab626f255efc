"""Subscriptions as they are stored: documents of the log."""
