"""The commands of `headgate config`: settings and contexts."""
