"""The provider of completions: its servers, its responses, and what is done when they fail."""
