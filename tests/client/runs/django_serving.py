"""Routes of Django, served by uvicorn in this process."""

from __future__ import annotations

import contextlib
import uuid
from types import ModuleType
from typing import TYPE_CHECKING

import django
from django.conf import settings
from django.core.asgi import get_asgi_application

from tests.client.runs.serving import uvicorn_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from django.urls import URLPattern


@contextlib.asynccontextmanager
async def django_of(routes: Sequence[URLPattern], *middleware: str) -> AsyncIterator[str]:
    """The URL of its root. There is one Django in a process, which has one project at a time."""
    if not settings.configured:
        settings.configure(ALLOWED_HOSTS=["127.0.0.1"], SECRET_KEY=uuid.uuid4().hex)
        django.setup(set_prefix=False)
    project = ModuleType("urls")
    vars(project)["urlpatterns"] = routes
    settings.ROOT_URLCONF, settings.MIDDLEWARE = project, middleware
    async with uvicorn_of(get_asgi_application()) as url:
        yield url
