"""How a value is read from a file, the environment or a flag, and what is wrong with it."""
