"""The second listener: what operators and their machines look at."""
