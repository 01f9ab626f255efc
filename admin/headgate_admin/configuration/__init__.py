"""The settings as the console shows them: those in force, and those that a reload would bring."""
