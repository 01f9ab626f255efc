"""Parse and check values from files, the environment and flags."""
