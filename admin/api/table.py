"""The JSON API: a table of operations, from which routes and their description are made."""

from __future__ import annotations

from typing import TYPE_CHECKING

from admin.api import changes, live, readers, reads, sessions, subscriptions
from admin.api.operation import Operation, handler
from admin.api.readers import (
    BanBody,
    BanPage,
    DisconnectedReaders,
    OfBan,
    OfReaderGroups,
    OfReaders,
    ReaderIds,
)
from admin.api.values import (
    AppendBody,
    ChangeMade,
    KeyRotation,
    OfCdnFile,
    OfEvents,
    OfRoute,
    OfRuns,
    OfSearch,
    OfSpan,
    OfStream,
    OfTail,
    OfTokens,
    ReadToken,
    RequestToExplain,
    Revocation,
    RevokedTokens,
    RotatedKeys,
    Routes,
    SignInBody,
    Stopping,
    TokenWish,
)
from admin.model.alerts import AlertsView
from admin.model.cdn import CdnFile, CdnTargets
from admin.model.doctor import DoctorView, DoctorWish
from admin.model.events import EventList
from admin.model.gateways import GatewaysView
from admin.model.overview import Overview
from admin.model.settings import About, Configuration, PendingConfiguration, ReloadDone
from admin.model.stream_wishes import NewStream, OfLimits
from admin.model.streams import Messages, RunsView
from admin.model.tokens import TokensView
from admin.model.viewer import Viewer
from admin.record.refusals import RefusalsView
from admin.streams.deletion import Deletion, DeletionReference, DeletionStart, DeletionWish
from gateway.features.questions.loudest import LoudestList
from gateway.features.questions.readers import ReaderGroups, ReaderPage
from gateway.features.questions.streams import Explanation, StreamDescription, StreamPage

if TYPE_CHECKING:
    from typing import Any

    from aiohttp import web

    Asked = tuple[Any, Any]  # the query and the body, as the operation says


def add_operations(router: web.UrlDispatcher) -> None:
    """Add a route for each operation."""
    for operation in OPERATIONS:
        router.add_route(operation.method, operation.path, handler(operation))


OPERATIONS = (
    Operation("GET", "/api/v1/session", "Who is signed in.", sessions.current, answer=Viewer),
    Operation(
        "POST", "/api/v1/session", "Sign in.", sessions.sign_in, body=SignInBody, answer=Viewer
    ),
    Operation("DELETE", "/api/v1/session", "Sign out.", sessions.sign_out),
    Operation(
        "GET", "/api/v1/overview", "The first page.", reads.overview, OfSpan, answer=Overview
    ),
    Operation(
        "GET",
        "/api/v1/overview/events",
        "The first page, every two seconds.",
        live.overview_events,
        OfSpan,
        answer=Overview,
        events=True,
    ),
    Operation("GET", "/api/v1/events", "What happened.", reads.events, OfEvents, answer=EventList),
    Operation(
        "GET",
        "/api/v1/alerts",
        "All alert rules, and their state.",
        reads.alerts,
        answer=AlertsView,
    ),
    Operation("GET", "/api/v1/routes", "Every route.", reads.routes, OfSpan, answer=Routes),
    Operation(
        "GET", "/api/v1/refusals", "What was refused.", reads.refusals, OfSpan, answer=RefusalsView
    ),
    Operation(
        "GET",
        "/api/v1/streams",
        "A page of a route's streams.",
        reads.streams,
        OfRoute,
        answer=StreamPage,
    ),
    Operation(
        "GET",
        "/api/v1/stream",
        "A stream, its producers and its readers.",
        reads.stream,
        OfStream,
        answer=StreamDescription,
    ),
    Operation(
        "PUT",
        "/api/v1/stream",
        "Create a stream.",
        changes.create,
        OfStream,
        NewStream,
        answer=StreamDescription,
    ),
    Operation("DELETE", "/api/v1/stream", "Delete a stream.", changes.delete, OfStream),
    Operation(
        "PATCH",
        "/api/v1/stream",
        "Set how much of a stream is kept, and how long it lives unused.",
        changes.limit,
        OfStream,
        OfLimits,
        answer=StreamDescription,
    ),
    Operation(
        "GET",
        "/api/v1/stream/messages",
        "Messages of a stream.",
        reads.messages,
        OfSearch,
        answer=Messages,
    ),
    Operation(
        "GET",
        "/api/v1/stream/events",
        "Messages of a stream as they come.",
        live.stream_events,
        OfTail,
        answer=Messages,
        events=True,
    ),
    Operation(
        "GET",
        "/api/v1/streams/deletion",
        "The deletion of all streams below a prefix that was counted last.",
        reads.deletion,
        answer=Deletion,
    ),
    Operation(
        "POST",
        "/api/v1/streams/deletion",
        "Count the streams below a prefix.",
        changes.count_below,
        body=DeletionWish,
        answer=Deletion,
    ),
    Operation(
        "POST",
        "/api/v1/streams/deletion/start",
        "Delete the streams that were counted.",
        changes.delete_below,
        body=DeletionStart,
        answer=Deletion,
    ),
    Operation(
        "POST",
        "/api/v1/streams/deletion/stop",
        "Stop a deletion, or drop one that was only counted.",
        changes.stop_deletion,
        body=DeletionReference,
        answer=Deletion,
    ),
    Operation(
        "POST",
        "/api/v1/stream/append",
        "Append text.",
        changes.append,
        body=AppendBody,
        answer=ChangeMade,
    ),
    Operation(
        "POST",
        "/api/v1/stream/close",
        "Close a stream.",
        changes.close,
        body=OfStream,
        answer=ChangeMade,
    ),
    Operation(
        "GET", "/api/v1/readers", "Who reads live.", readers.readers, OfReaders, answer=ReaderPage
    ),
    Operation(
        "GET",
        "/api/v1/readers/groups",
        "How many read live, by principal, address or stream.",
        readers.groups,
        OfReaderGroups,
        answer=ReaderGroups,
    ),
    Operation(
        "POST",
        "/api/v1/readers/disconnect",
        "Disconnect readers, whose clients may connect again.",
        readers.disconnect,
        body=ReaderIds,
        answer=DisconnectedReaders,
    ),
    Operation(
        "GET",
        "/api/v1/loudest",
        "The clients and streams that cause the largest load.",
        readers.loudest,
        answer=LoudestList,
    ),
    Operation("GET", "/api/v1/bans", "The bans in force.", readers.bans, answer=BanPage),
    Operation(
        "POST",
        "/api/v1/bans",
        "Disconnect a client, and refuse it for a time.",
        readers.ban,
        body=BanBody,
        answer=DisconnectedReaders,
    ),
    Operation("DELETE", "/api/v1/bans", "End a ban before its time.", readers.lift, OfBan),
    *subscriptions.OPERATIONS,
    Operation(
        "GET", "/api/v1/runs", "A page of a route's runs.", reads.runs, OfRuns, answer=RunsView
    ),
    Operation(
        "POST",
        "/api/v1/runs/stop",
        "Ask the producer of a run to stop.",
        changes.stop_run,
        body=OfStream,
        answer=Stopping,
    ),
    Operation(
        "GET",
        "/api/v1/tokens",
        "The tokens of clients, keys and revocations.",
        reads.tokens,
        OfTokens,
        answer=TokensView,
    ),
    Operation(
        "POST",
        "/api/v1/tokens/revoke",
        "Revoke tokens.",
        changes.revoke,
        body=Revocation,
        answer=RevokedTokens,
    ),
    Operation(
        "POST",
        "/api/v1/tokens",
        "Make a read token.",
        changes.make_token,
        body=TokenWish,
        answer=ReadToken,
    ),
    Operation(
        "POST",
        "/api/v1/reload",
        "Put the settings in force as they are now.",
        changes.reload,
        answer=ReloadDone,
    ),
    Operation(
        "POST",
        "/api/v1/reader-keys/rotate",
        "Give streams other reader keys.",
        changes.rotate_keys,
        body=KeyRotation,
        answer=RotatedKeys,
    ),
    Operation(
        "POST",
        "/api/v1/explain",
        "What would become of a request.",
        reads.explain,
        body=RequestToExplain,
        answer=Explanation,
    ),
    Operation(
        "GET",
        "/api/v1/cdn",
        "The CDNs and proxies that there are configurations for.",
        reads.cdn_targets,
        answer=CdnTargets,
    ),
    Operation(
        "GET",
        "/api/v1/cdn/file",
        "A configuration for one of them.",
        reads.cdn_file,
        OfCdnFile,
        answer=CdnFile,
    ),
    Operation(
        "GET",
        "/api/v1/cdn/doctor",
        "What the doctor found last of what lies before this gateway.",
        reads.cdn_doctor,
        answer=DoctorView,
    ),
    Operation(
        "POST",
        "/api/v1/cdn/doctor",
        "Have it examine a host that the settings name.",
        changes.begin_doctor,
        body=DoctorWish,
        answer=DoctorView,
    ),
    Operation(
        "GET",
        "/api/v1/configuration",
        "The settings in effect.",
        reads.configuration,
        answer=Configuration,
    ),
    Operation(
        "GET",
        "/api/v1/configuration/pending",
        "What a reload would change.",
        reads.pending_configuration,
        answer=PendingConfiguration,
    ),
    Operation(
        "GET",
        "/api/v1/gateways",
        "Each process of this gateway, and the gateways that share a log with it.",
        reads.gateways,
        answer=GatewaysView,
    ),
    Operation("GET", "/api/v1/about", "What runs here.", reads.about, answer=About),
)
