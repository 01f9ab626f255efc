"""The router of chats for FastAPI."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import APIRouter

from headgate.chats import starlette

if TYPE_CHECKING:
    from starlette.requests import Request

    from headgate.chats.chats import Chats
    from headgate.chats.requests import Authorize
    from headgate.chats.turn import Answering


def chat_router(
    chats: Chats,
    answering: Answering,
    *,
    authorize: Authorize[Request],
    path: str = "/api/chat",
) -> APIRouter:
    """Return the router by which a page uses its chats, for `app.include_router`.

    Its arguments are those of `headgate.chats.starlette.chat_router`.
    """
    routes = starlette.chat_router(chats, answering, authorize=authorize, path=path)
    return APIRouter(routes=[*routes])
