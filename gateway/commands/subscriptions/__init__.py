"""`headgate stream subscriptions`: the subscriptions of a running server, by its admin listener."""
