"""Subscriptions of a log that several gateways share: one of them at a time delivers."""
