"""Subscriptions: durable cursors that wake workers when streams have pending events."""
