"""The commands of `headgate config`: settings, and completion for shells."""
