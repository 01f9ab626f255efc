"""Alerts as the console evaluates them, over what it measures of its own gateway."""
