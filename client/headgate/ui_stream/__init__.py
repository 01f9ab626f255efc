"""The UI message stream of the AI SDK: its chunks, their steps, and what its clients accept."""
