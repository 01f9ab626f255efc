"""The exchanges, a module for each group."""
