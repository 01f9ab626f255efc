"""The commands of `headgate stream`."""
