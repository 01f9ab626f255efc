"""What the server tells its operator: log lines."""
