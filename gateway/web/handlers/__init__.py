"""What is done with a request once it is parsed: one handler for each operation."""
