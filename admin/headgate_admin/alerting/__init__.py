"""The alerts that the console evaluates for this gateway."""
