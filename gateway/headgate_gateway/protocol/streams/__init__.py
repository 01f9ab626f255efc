"""A stream as a value: its state, its offsets, its limits and its chunks."""
