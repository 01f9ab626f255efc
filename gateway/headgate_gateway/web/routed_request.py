"""Requests to control paths, which features answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headgate_gateway.stepped import in_task
from headgate_gateway.web.admission import admit_control
from headgate_gateway.web.requests import request_body

if TYPE_CHECKING:
    from multidict import MultiMapping

    from headgate_gateway.access.operations import Need
    from headgate_gateway.access.principal import Principal
    from headgate_gateway.routes.answers import RouteAnswer
    from headgate_gateway.routes.feature import FeatureRequest, RouteFeature
    from headgate_gateway.routes.router import RoutedTarget
    from headgate_gateway.routes.services import Services
    from headgate_gateway.web.requests.request import Request


class RoutedRequest:
    """A FeatureRequest with the `request` of the listener and its `place`."""

    def __init__(self, request: Request, place: RoutedTarget, services: Services) -> None:
        self.request = request
        self.place = place
        self.method, self.target, self.name = request.method, place.target, place.name
        self._services = services

    @classmethod
    def parts(cls, control: FeatureRequest) -> tuple[Request, RoutedTarget]:
        """Return the request and its place, which Headgate's own features may use."""
        assert isinstance(control, cls), "the listener makes no other"
        return control.request, control.place

    @property
    def headers(self) -> MultiMapping[str]:
        """The header fields."""
        return self.request.headers

    async def admit(self, *needs: Need) -> Principal | None:
        """Return its client once the guard admits it. Raises as `admit_control` does."""
        return await admit_control(self.request, self.place, needs, self._services)

    async def body(self) -> bytes:
        """Return the whole body, which may be read again. Raises HeadgateError."""
        body = self.request.whole = await request_body.whole(self.request, self._services)
        return body


async def answer_control(control: RouteFeature, request: RoutedRequest) -> RouteAnswer:
    """Return the answer of a feature, which may wait for anything. Raises HeadgateError."""
    await in_task()
    return await control.operate(request)
