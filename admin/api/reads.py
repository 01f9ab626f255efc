"""The operations of the JSON API that the console has in another form, or loads late."""

from __future__ import annotations

from typing import Annotated

import msgspec

from admin.cdn import CdnFile, CdnTargets, Choice, Entered, make_file, told_targets
from admin.console import Console
from admin.model.viewer import Viewer
from admin.operation import operation
from gateway.features.questions.readers import (
    MOST_READERS,
    READERS,
    GroupBy,
    ListReaders,
    ReaderGroups,
    ReaderMode,
    ReaderOrder,
    ReaderPage,
    ReaderQuery,
)


class OfCdnFile(Choice, frozen=True, kw_only=True):
    """A target, and what is chosen of its options."""

    target: Entered


class ReaderChoice(msgspec.Struct, frozen=True):
    """A choice of live readers: those that fulfil all conditions.

    `account` is that of a principal, and `anonymous=true` chooses readers without one. `text` is in
    the stream, the principal, the address or the user agent.
    """

    route: str = ""
    stream: str = ""
    mode: ReaderMode | None = None
    account: str = ""
    anonymous: bool = False
    address: str = ""
    text: str = ""

    def where(self, viewer: Viewer) -> ReaderQuery:
        """Return the conditions as processes take them."""
        return ReaderQuery(
            route=self.route,
            stream=self.stream,
            mode=self.mode,
            account="" if self.anonymous else self.account or None,
            address=self.address,
            text=self.text,
            with_clients=viewer.is_operator,
        )


class OfReaders(ReaderChoice, frozen=True):
    """A page of the live readers that fulfil the conditions, behind the `after` of another page."""

    order: ReaderOrder = "behind"
    after: str = ""
    limit: Annotated[int, msgspec.Meta(ge=1, le=MOST_READERS)] = READERS


class OfReaderGroups(ReaderChoice, frozen=True, kw_only=True):
    """The live readers that fulfil the conditions, counted by what they have in common."""

    by: GroupBy


@operation("GET", "/api/v1/readers")
async def readers(console: Console, query: OfReaders, viewer: Viewer) -> ReaderPage:
    """Return a page of live readers."""
    question = ListReaders(query.where(viewer), query.order, query.after, query.limit)
    return await console.readers.page(question)


@operation("GET", "/api/v1/readers/groups")
async def groups(console: Console, query: OfReaderGroups, viewer: Viewer) -> ReaderGroups:
    """Return the largest groups of live readers."""
    return await console.readers.groups(query.where(viewer), query.by)


@operation("GET", "/api/v1/cdn")
def cdn_targets() -> CdnTargets:
    """Return every CDN and proxy that a configuration can be made for."""
    return told_targets()


@operation("GET", "/api/v1/cdn/file")
async def cdn_file(console: Console, query: OfCdnFile) -> CdnFile:
    """Return a configuration for one of them."""
    return await make_file(console.setup.settings, query.target, query)
