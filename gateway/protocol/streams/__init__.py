"""A stream as a value: its state, its offsets, its generations and its chunks."""
