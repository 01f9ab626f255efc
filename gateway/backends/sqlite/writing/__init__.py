"""The one thread that writes the data file: groups of commits, and small steps between them."""
