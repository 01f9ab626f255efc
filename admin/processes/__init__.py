"""Processes of this gateway, and the gateways that share a log with it: what each of them uses."""
