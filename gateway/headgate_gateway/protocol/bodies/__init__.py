"""The content of messages: its types, JSON, multi-appends and server-sent events."""
