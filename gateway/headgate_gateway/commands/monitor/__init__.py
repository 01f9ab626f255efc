"""The commands of `headgate monitor`."""
