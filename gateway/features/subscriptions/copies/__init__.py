"""Copies of subscriptions from log to log, beside those of their streams."""
