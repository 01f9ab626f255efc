"""Documents and mailboxes of the gateways that share a log in Redis."""
