"""Schedules of one connection: what comes, what is known and who leaves, in any order."""
