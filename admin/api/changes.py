"""The operations of the JSON API that change something; each leaves a line in the audit log."""

from __future__ import annotations

import msgspec
from aiohttp import web

from admin.access.audit import audited
from admin.access.check import VIEWER
from admin.api.operation import operation
from admin.api.values import (
    AppendBody,
    ChangeMade,
    KeyRotation,
    OfStream,
    ReadToken,
    Revocation,
    RevokedTokens,
    RotatedKeys,
    Stopping,
    TokenWish,
)
from admin.console import CONSOLE
from admin.model.doctor import DoctorView, DoctorWish
from admin.model.settings import ReloadDone
from admin.model.stream_wishes import NewStream, OfLimits
from admin.streams.deletion import Deletion, DeletionReference, DeletionStart, DeletionWish
from gateway.features.issued_tokens import TokenRequest
from gateway.features.questions.streams import StreamDescription
from gateway.features.tokens_file_changes import RevocationEntry
from gateway.protocol.streams.limits import LimitChanges


@operation("POST", "/api/v1/stream/append")
async def append(request: web.Request, body: AppendBody) -> ChangeMade:
    """Append text to a stream, and return the next offset."""
    with audited(request[VIEWER], "append", body.route, body.name):
        offset = await request.app[CONSOLE].changes.append(
            body.route, body.name, body.content_type, body.data.encode()
        )
    return ChangeMade(offset)


@operation("POST", "/api/v1/stream/close")
async def close(request: web.Request, body: OfStream) -> ChangeMade:
    """Close a stream, and return its final offset."""
    with audited(request[VIEWER], "close", body.route, body.name):
        offset = await request.app[CONSOLE].changes.close_stream(body.route, body.name)
    return ChangeMade(offset)


@operation("DELETE", "/api/v1/stream")
async def delete(request: web.Request, query: OfStream) -> None:
    """Delete a stream."""
    with audited(request[VIEWER], "delete", query.route, query.name):
        await request.app[CONSOLE].changes.delete(query.route, query.name)


@operation("PUT", "/api/v1/stream")
async def create(request: web.Request, query: OfStream, body: NewStream) -> StreamDescription:
    """Create a stream, and return it."""
    with audited(request[VIEWER], "create", query.route, query.name):
        return await request.app[CONSOLE].changes.create(query.route, query.name, body)


@operation("PATCH", "/api/v1/stream")
async def limit(request: web.Request, query: OfStream, body: OfLimits) -> StreamDescription:
    """Set limits of one stream, and return the stream."""
    changes = LimitChanges(**msgspec.structs.asdict(body))
    with audited(request[VIEWER], "limit", query.route, query.name) as logged:
        logged["changes"] = msgspec.json.encode(changes).decode()
        return await request.app[CONSOLE].changes.limit(query.route, query.name, changes)


@operation("POST", "/api/v1/streams/deletion")
async def count_below(request: web.Request, body: DeletionWish) -> Deletion:
    """Begin to count the streams below a prefix, which deletes none."""
    return await request.app[CONSOLE].deletion.count(body, request[VIEWER])


@operation("POST", "/api/v1/streams/deletion/start")
async def delete_below(request: web.Request, body: DeletionStart) -> Deletion:
    """Begin to delete the streams that were counted."""
    return request.app[CONSOLE].deletion.start(body, request[VIEWER])


@operation("POST", "/api/v1/streams/deletion/stop")
async def stop_deletion(request: web.Request, body: DeletionReference) -> Deletion:
    """Stop the deletion of many streams."""
    return await request.app[CONSOLE].deletion.stop(body.id, request[VIEWER])


@operation("POST", "/api/v1/runs/stop")
async def stop_run(request: web.Request, body: OfStream) -> Stopping:
    """Ask the producer of a run to stop."""
    with audited(request[VIEWER], "stop", body.route, body.name):
        return Stopping(await request.app[CONSOLE].changes.stop_run(body.route, body.name))


@operation("POST", "/api/v1/tokens")
async def make_token(request: web.Request, body: TokenWish) -> ReadToken:
    """Make a read token."""
    token_request = TokenRequest(body.subject, body.streams, body.operations, body.lifetime)
    credentials = request.app[CONSOLE].credentials
    issued, cookie = await credentials.make_token(token_request, request[VIEWER])
    return ReadToken(issued.token, issued.expires, issued.token_id, cookie)


@operation("POST", "/api/v1/reader-keys/rotate")
async def rotate_keys(request: web.Request, body: KeyRotation) -> RotatedKeys:
    """Give streams other reader keys."""
    version = await request.app[CONSOLE].credentials.rotate_keys(body.streams, request[VIEWER])
    return RotatedKeys(body.streams, version)


@operation("POST", "/api/v1/tokens/revoke")
async def revoke(request: web.Request, body: Revocation) -> RevokedTokens:
    """Revoke a static token, or signed tokens."""
    entry = RevocationEntry(body.kind, body.value, body.before)
    credentials = request.app[CONSOLE].credentials
    warnings = await credentials.revoke(entry, request[VIEWER])
    return RevokedTokens(entry.text, warnings)


@operation("POST", "/api/v1/reload")
async def reload(request: web.Request) -> ReloadDone:
    """Put the settings in force as they are written now."""
    with audited(request[VIEWER], "reload", "", ""):
        return await request.app[CONSOLE].reloads.reload()


@operation("POST", "/api/v1/cdn/doctor")
async def begin_doctor(request: web.Request, body: DoctorWish) -> DoctorView:
    """Begin to examine a deployment."""
    with audited(request[VIEWER], "doctor", body.route or "", "") as logged:
        logged["host"] = body.host
        return request.app[CONSOLE].doctor.begin(body, request[VIEWER].name)
