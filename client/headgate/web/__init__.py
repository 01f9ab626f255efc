"""Runs and chats in a web framework: each module has the same functions for one of them."""
