"""The sections of the settings: each a table by itself, whose class is declared in one module."""
