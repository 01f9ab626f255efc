"""The messages of JSON-RPC in a request of MCP, and the versions of MCP that are spoken.

Two kinds of version differ in their messages: those with a handshake (`initialize`), and from
2026-07-28 on those in which each request names its version. No version needs a session here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from headgate.json_values import NOT_JSON
from headgate_gateway.features.decoded import has_more_values

if TYPE_CHECKING:
    from collections.abc import Mapping

HANDSHAKE_VERSIONS = ("2025-06-18", "2025-11-25")
STATELESS_VERSIONS = ("2026-07-28",)
LONGEST_BODY = 64 << 10  # bytes of a message
MOST_VALUES = 10_000  # of a body: a million take 0.1 s to decode

VERSION_HEADER, METHOD_HEADER = "MCP-Protocol-Version", "Mcp-Method"
VERSION_KEY = "io.modelcontextprotocol/protocolVersion"
CAPABILITIES_KEY = "io.modelcontextprotocol/clientCapabilities"

PARSE_ERROR, INVALID_REQUEST, METHOD_NOT_FOUND = -32700, -32600, -32601
INVALID_PARAMS, INTERNAL_ERROR = -32602, -32603
HEADER_MISMATCH, UNSUPPORTED_VERSION = -32020, -32022
NOT_FOUND, FORBIDDEN, EXHAUSTED, UNSUPPORTED = range(-32011, -32015, -1)

# The statuses of errors that are one of the request itself; versions with a handshake have 200 for
# those that are behind it, as a 404 means there that a session has ended.
_STATUS = {PARSE_ERROR: 400, INVALID_REQUEST: 400, HEADER_MISMATCH: 400, UNSUPPORTED_VERSION: 400}
_STATELESS_STATUS = {**_STATUS, INVALID_PARAMS: 400, METHOD_NOT_FOUND: 404}

RpcId = str | int | float


class RpcError(Exception):
    """An error that a request of JSON-RPC is answered with."""

    def __init__(self, code: int, message: str, **data: object) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.data = data
        self.call_id: RpcId | None = None
        self.is_of_call = False  # its message was read, which may have no id

    @property
    def document(self) -> dict[str, Any]:
        """The error as the response has it."""
        error = {"code": self.code, "message": self.message}
        return {**error, "data": self.data} if self.data else error

    def of_call(self, call_id: RpcId | None) -> RpcError:
        """Return the error as that of a message which was read, with its id."""
        self.call_id, self.is_of_call = call_id, True
        return self

    def status(self, *, is_stateless: bool) -> int:
        """Return the status of the HTTP response."""
        return (_STATELESS_STATUS if is_stateless else _STATUS).get(self.code, 200)


class RpcCall(NamedTuple):
    """A request of JSON-RPC, or a notification, which has no id and gets no response."""

    method: str
    params: dict[str, Any]
    id: RpcId | None
    is_stateless: bool = False

    def result(self, members: Mapping[str, object]) -> dict[str, object]:
        """Return the response with a result."""
        complete = {"resultType": "complete"} if self.is_stateless else {}
        return {"jsonrpc": "2.0", "id": self.id, "result": {**complete, **members}}

    def error(self, error: RpcError) -> dict[str, object]:
        """Return the response with an error."""
        return refusal(error, self.id)


def refusal(error: RpcError, call_id: RpcId | None = None) -> dict[str, object]:
    """Return the response to a message that may have no id which could be read."""
    return {"jsonrpc": "2.0", "id": call_id, "error": error.document}


def message_in(body: bytes) -> object:
    """Return the message in a body. Raises RpcError."""
    if len(body) > LONGEST_BODY:
        raise RpcError(INVALID_REQUEST, f"the body is over {LONGEST_BODY} bytes")
    if has_more_values(body, MOST_VALUES):
        raise RpcError(INVALID_REQUEST, f"the body has over {MOST_VALUES} values")
    try:
        message = msgspec.json.decode(body)
        body.decode()  # the decoder lets bytes that are no UTF-8 pass inside texts
    except NOT_JSON:
        raise RpcError(PARSE_ERROR, "the body is no JSON") from None
    if isinstance(message, list):
        raise RpcError(INVALID_REQUEST, "there are no batches here: send one message")
    return message


def call_of(message: object, version: str | None, method: str | None) -> RpcCall | None:
    """Return a request or notification; None for a response, of which none is expected.

    `version` and `method` are those of the header. Raises RpcError.
    """
    if not isinstance(message, dict) or message.get("jsonrpc") != "2.0":
        raise RpcError(INVALID_REQUEST, "a message is an object of JSON-RPC 2.0")
    if "method" not in message and ("result" in message or "error" in message):
        return None
    name, params, call_id = message.get("method"), message.get("params", {}), message.get("id")
    is_notification = "id" not in message
    has_id = isinstance(call_id, RpcId) and not isinstance(call_id, bool)
    if not isinstance(name, str) or not (has_id or is_notification):
        raise RpcError(INVALID_REQUEST, "a request has a method and an id, a text or a number")
    if not isinstance(params, dict):
        raise RpcError(INVALID_PARAMS, "params is an object").of_call(call_id)
    try:
        is_stateless = _is_stateless(name, params, version, method, is_call=has_id)
    except RpcError as error:
        raise error.of_call(call_id) from None
    return RpcCall(name, params, call_id, is_stateless)


def _is_stateless(
    name: str, params: dict[str, Any], version: str | None, method: str | None, *, is_call: bool
) -> bool:
    """Return whether a message is of a version without a handshake. Raises RpcError."""
    meta = params.get("_meta")
    named = meta.get(VERSION_KEY) if isinstance(meta, dict) else None
    if named is None and (version is None or version in HANDSHAKE_VERSIONS):
        return False
    if named is None and version not in STATELESS_VERSIONS:
        raise _unsupported(version)
    if not is_call:
        return True
    if not isinstance(meta, dict) or not isinstance(named, str) or CAPABILITIES_KEY not in meta:
        raise RpcError(INVALID_PARAMS, f"params._meta needs {VERSION_KEY} and {CAPABILITIES_KEY}")
    if named != version:
        raise RpcError(HEADER_MISMATCH, f"{VERSION_HEADER} is not the version in params._meta")
    if method != name:
        raise RpcError(HEADER_MISMATCH, f"{METHOD_HEADER} is not the method of the message")
    if named not in STATELESS_VERSIONS:
        raise _unsupported(named)
    return True


def _unsupported(version: str | None) -> RpcError:
    return RpcError(
        UNSUPPORTED_VERSION,
        "this version of MCP is not spoken here",
        supported=[*STATELESS_VERSIONS, *reversed(HANDSHAKE_VERSIONS)],
        requested=version,
    )
