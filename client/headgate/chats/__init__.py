"""Chats: which run is the newest answer of a chat, and what was said, kept in streams.

chats = Chats(Runs("http://127.0.0.1:4437/v1/stream/chats", ttl=None))
answer = await chats.send("chat-1", message, answered)
"""

from headgate.chats.chats import Chats
from headgate.chats.conversation import ChatHistory, ChatState, Turn

__all__ = ["ChatHistory", "ChatState", "Chats", "Turn"]
