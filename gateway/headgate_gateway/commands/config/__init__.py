"""The commands of `headgate config`: settings, contexts, and completion for shells."""
