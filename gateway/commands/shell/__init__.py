"""What every command needs of a terminal or a pipe: input, output, progress and failures."""
