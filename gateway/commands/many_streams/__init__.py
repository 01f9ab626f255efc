"""The commands on many streams, which ask the admin listener of a Headgate for them."""
