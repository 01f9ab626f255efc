"""Answers of models in a log that several gateways write to."""
