"""Checks of the settings against each other, once all of them are known."""
