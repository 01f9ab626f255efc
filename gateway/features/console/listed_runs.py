"""The runs of a route, as the console lists them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.routes.feature import RouteFeature

if TYPE_CHECKING:
    from gateway.features.questions.runs import ListRuns, RunPage

NAME = "runs"


class ListedRuns(RouteFeature):
    """The runs of a route, which has them as its feature NAME."""

    async def page(self, question: ListRuns) -> RunPage:
        """Return a page of the runs. Raises HeadgateError."""
        raise NotImplementedError
