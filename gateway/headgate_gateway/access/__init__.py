"""Access to streams: credentials, the principals that they prove, and the operations granted."""
