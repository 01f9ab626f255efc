"""The report on the tokens in force, for `headgate check`, the log and the console."""
