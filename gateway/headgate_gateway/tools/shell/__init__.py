"""The shell of every command: its input, output, progress and failures."""
