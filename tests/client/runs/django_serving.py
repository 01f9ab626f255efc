"""Routes of Django, served in this process."""

from __future__ import annotations

import contextlib
import uuid
from types import ModuleType
from typing import TYPE_CHECKING

import django
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application

from tests.client.runs.serving import uvicorn_of, werkzeug_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from django.urls import URLPattern


@contextlib.asynccontextmanager
async def django_of(routes: Sequence[URLPattern], *middleware: str) -> AsyncIterator[str]:
    """The URL of the root of a project that is served by ASGI."""
    use(routes, *middleware)
    async with uvicorn_of(get_asgi_application()) as url:
        yield url


@contextlib.asynccontextmanager
async def django_of_threads(routes: Sequence[URLPattern]) -> AsyncIterator[str]:
    """The URL of the root of a project that is served by WSGI."""
    use(routes)
    async with werkzeug_of(get_wsgi_application()) as url:
        yield url


def use(routes: Sequence[URLPattern], *middleware: str) -> None:
    """Make these the project: there is one Django in a process, which has one at a time."""
    if not settings.configured:
        settings.configure(ALLOWED_HOSTS=["127.0.0.1"], SECRET_KEY=uuid.uuid4().hex)
        django.setup(set_prefix=False)
    project = ModuleType("urls")
    vars(project)["urlpatterns"] = routes
    settings.ROOT_URLCONF, settings.MIDDLEWARE = project, middleware
