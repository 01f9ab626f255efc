"""The ids of chats, of their streams, and of the runs that are their answers."""

from __future__ import annotations

import re
import secrets

from headgate.errors import BadRequest

_CHAT = re.compile(r"[A-Za-z0-9_-]{1,128}")
SEPARATOR = "."  # in no id of a chat
LOG = f"{SEPARATOR}chat"


def check(chat: object) -> str:
    """Return the id of a chat; TypeError or BadRequest for what is none."""
    if not isinstance(chat, str):
        raise TypeError(f"the id of a chat is a str, not {type(chat).__name__}")
    if not _CHAT.fullmatch(chat):
        raise BadRequest("the id of a chat is 1 to 128 letters, digits, '-' and '_' of ASCII")
    return chat


def new_run(chat_id: str) -> str:
    """Return the id of an answer of this chat, which nobody else has."""
    return f"{chat_id}{SEPARATOR}{secrets.token_hex(8)}"


def chat_of(run_or_chat: str) -> str:
    """Return the chat that an id names, or whose answer it names; BadRequest for neither."""
    chat, separator, token = run_or_chat.partition(SEPARATOR)
    if separator and not re.fullmatch("[0-9a-f]{16}", token):
        raise BadRequest("this is the id of no chat, and of no answer of one")
    return check(chat)


def is_run(run_or_chat: str) -> bool:
    """Return whether the id is that of an answer."""
    return SEPARATOR in run_or_chat
