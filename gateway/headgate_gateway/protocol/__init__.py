"""The rules of Durable Streams as plain functions and values: no I/O, no clock, no randomness."""
