"""The provider of answers: its servers, its responses, and what is done when they fail."""
