"""The log in SQLite, in one folder of this machine."""
