"""The commands of `headgate doctor`."""
