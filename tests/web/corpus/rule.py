"""The rule of what is counted, logged and traced of requests and their responses.

It says what most of them have in common. A recording has what there is besides, and what is
missing of that.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

from tests.support.serving import EDGE, PREFIX

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.web.corpus.seen import Request, Response, Seen

    Figure = tuple[str, int] | tuple[str, int, str, str]  # name, change, one more label

NO_ROUTE = "none"
UNREAD = "unread"
KINDS = ("", NO_ROUTE, UNREAD)  # of errors, whose responses do not show which they are
OPERATIONS = {"GET": "read", "HEAD": "head", "POST": "append", "PUT": "create"}
OPERATIONS |= {"DELETE": "delete", "OPTIONS": "options"}
LIVE = {"long-poll": "long_poll", "sse": "sse"}
NAMED_ERRORS = {400, 401, 403, 404, 409, 413, 429, 500, 502, 503, 504}
NOT_ADMITTED = {401: "unauthenticated", 403: "forbidden"}
NOT_LOOKED_UP = {400, 401, 403, 405, 429, 503}
REFUSED_APPENDS = {404, 409}


def head_again(response: Response, equal: int) -> list[str]:
    """Return the head of the response to a request when it, and `equal` in all, are sent again."""
    result, path = response.get("X-Cache"), urlsplit(response.request.target).path
    is_own = path.startswith(f"{PREFIX}/") and response.get("Cache-Control") != "no-store"
    is_stored = is_own or "; stored" in response.get("Cache-Status")
    if result != "HIT" and (result != "MISS" or not is_stored):
        return response.head
    age = re.search(r"max-age=(\d+)", response.get("Cache-Control"))
    cached = {
        "X-Cache": "HIT",
        "X-Cache-Hits": str(int(response.get("X-Cache-Hits")) + equal),
        "Cache-Status": "Headgate; hit" + (f"; ttl={age[1]}" if age else ""),
    }
    names = [line.partition(":")[0] for line in response.head]
    return [
        f"{name}: {cached[name]}" if name in cached else line
        for name, line in zip(names, response.head, strict=True)
    ]


class Rule:
    """The rule for what is seen of a play; `kind` says what its errors count for."""

    def __init__(self, seen: Seen, kind: str, *, is_guarded: bool) -> None:
        self.heard = [head for head, _ in seen.heard]
        self.answered = [_Answered(one, kind, is_guarded=is_guarded) for one in seen.responses]
        found = [re.search(r"fwd-status=(\d+)", one.get("Cache-Status")) for one in seen.responses]
        self.statuses = [int(one[1]) for one in found if one]

    def counted(self) -> dict[str, float]:
        """Return the changes of counters by their names and labels."""
        total: Counter[str] = Counter()
        for one in self.answered:
            for name, change, *label in one.figures():
                total[_figure(name, one.route, *label)] += change
        for method, status in self._asked():
            total[_figure("origin_request_duration_seconds", EDGE)] += 1
            total[_figure("origin_requests_total", EDGE, "result", f"{status // 100}xx")] += 1
            total[_figure("origin_fetches_total", EDGE)] += method == "GET"
        return {name: change for name, change in total.items() if change}

    def log_lines(self) -> list[dict[str, str]]:
        """Return the fields of log lines, as they are shown."""
        return [
            {name: repr(value) for name, value in one.log_line().items()} for one in self.answered
        ]

    def spans(self) -> list[str]:
        """Return the spans of responses, and of requests to an origin."""
        asked = [f"client {method} {_result(status, 400)}" for method, status in self._asked()]
        return [*asked, *(span for one in self.answered for span in one.spans())]

    def _asked(self) -> Iterator[tuple[str, int]]:
        """Return the requests to the origin, with the statuses that the responses name."""
        for number, head in enumerate(self.heard if self.statuses else ()):
            yield head[0].split(" ")[0], self.statuses[min(number, len(self.statuses) - 1)]


class _Answered:
    """A response with what it counts for."""

    def __init__(self, response: Response, kind: str, *, is_guarded: bool) -> None:
        self.response, self.request = response, response.request
        self.status, self.size = response.status, len(response.body)
        self.cache, self.is_guarded = response.get("X-Cache"), is_guarded
        is_error = self.status >= 400 and bool(kind)
        self.is_unread = is_error and kind == UNREAD
        self.query = parse_qs(urlsplit(self.request.target).query)
        self.route = NO_ROUTE if is_error else _route_of(self.request)
        self.operation = "other" if self.is_unread else self._operation()
        is_live = self.cache == "COLLAPSED" and self.operation in LIVE.values()
        self.is_live = is_live and self.status < 400
        self.is_parked = self.is_live and self.operation == "long_poll"

    def _operation(self) -> str:
        if self.request.method == "GET" and self.status not in {400, 401, 403}:
            return LIVE.get(self.query.get("live", [""])[0], "read")
        if self.request.method == "POST" and "stream-closed" in self.request.fields:
            return "close"
        return OPERATIONS.get(self.request.method, "other")

    def figures(self) -> Iterator[Figure]:
        """Return what is counted."""
        by_status = f'{self.operation}",status="{self.status // 100}xx'
        yield "requests_total", 1, "operation", by_status
        if self.status >= 400:
            error = str(self.status) if self.status in NAMED_ERRORS else "other"
            yield "error_responses_total", 1, "status", error
        if self.route == NO_ROUTE:
            return
        yield "response_bytes_total", self.size
        if self.request.method in {"POST", "PUT"}:
            yield "request_bytes_total", len(self.request.body)
        if self.operation not in {"other", "options", *LIVE.values()}:
            yield "request_duration_seconds", 1, "operation", self.operation
        if self.is_guarded and self.operation not in {"options", "other"}:
            decision = NOT_ADMITTED.get(self.status, "admitted")
            yield "auth_decisions_total", 1, "result", decision
        if self.request.method == "GET":
            yield from self._of_read()
        elif self.route == PREFIX:
            yield from self._of_write()

    def _of_read(self) -> Iterator[Figure]:
        if self.cache != "BYPASS" or self.status not in NOT_LOOKED_UP:
            yield "cache_results_total", 1, "result", self.cache.lower()
        if self.cache in {"MISS", "COLLAPSED"}:
            yield "collapsed_readers", 1
        is_of_stream = bool(self.response.get("Stream-Next-Offset"))
        if self.status < 400 and self.cache != "BYPASS" and is_of_stream:
            offset = self.query.get("offset", ["-1"])[0]
            yield "resumes_total", 1, "kind", "start" if offset == "-1" else "offset"
        if "fwd-status=200" in self.response.get("Cache-Status") and is_of_stream:
            yield "repairs_total", 1, "repair", "cors"
            yield "repairs_total", 1, "repair", "cursor"
        is_stored = self.route == PREFIX or "; stored" in self.response.get("Cache-Status")
        if self.cache == "MISS" and is_stored and self.status < 400:
            yield "cache_entries", 1
        if self.is_live:
            yield "live_reader_joins_total", 1, "mode", self.operation
        if self.is_parked:
            yield from self._of_poll()

    def _of_poll(self) -> Iterator[Figure]:
        reason = "timeout" if self.status == 204 else "answered"
        yield "live_reader_leaves_total", 1, "mode", f'long_poll",reason="{reason}'
        if reason == "answered":
            yield "deliveries_total", 1, "mode", "long_poll"
            yield "delivered_bytes_total", self.size, "mode", "long_poll"
            yield "delivery_seconds", 1

    def _of_write(self) -> Iterator[Figure]:
        is_done, size = self.status < 300, len(self.request.body)
        if self.request.method == "POST" and is_done and size:
            yield "append_bytes_total", size
            yield "append_messages_total", 1
            yield "commit_appends", 1
        if self.request.method == "POST" and (self.status in REFUSED_APPENDS or (is_done and size)):
            yield "appends_total", 1, "result", "stored" if is_done else "refused"
            yield "append_duration_seconds", 1
        if self.status == 201:
            yield "streams_created_total", 1
            yield "storage_streams", 1
        elif self.operation == "delete" and is_done:
            yield "streams_deleted_total", 1
            yield "storage_streams", -1

    def log_line(self) -> dict[str, object]:
        """Return the fields of the log line."""
        fields: dict[str, object] = {
            "request_id": self.response.get("X-Request-Id") or "<id>",
            "method": "-" if self.is_unread else self.request.method,
            "path": "-" if self.is_unread else self.request.target,
            "route": self.route,
            "status": self.status,
            "bytes": self.size,
            "cache": self.cache,
            "client": "127.0.0.1",
            "ended": "timeout" if self.is_parked and self.status == 204 else "answered",
            "event": "request",
        }
        if self.is_guarded and self.status in NOT_ADMITTED and self.response.body:
            reason = json.loads(self.response.body)["detail"]
            fields["refused"] = f"{NOT_ADMITTED[self.status]}: {reason}"
        token = re.match(r"Bearer canary-(\w+)-", self.request.fields.get("authorization", ""))
        if self.is_guarded and token and self.status != 401:
            fields["principal"] = token[1]
        return fields

    def spans(self) -> Iterator[str]:
        """Return the span of the request."""
        if self.is_unread:
            return  # no span has begun
        where = "" if self.route == NO_ROUTE else f" {self.route}/{{stream}}"
        result = {"headgate.waits": True} if self.is_parked else _result(self.status, 500)
        yield f"server {self.request.method}{where} {result}"


def _figure(name: str, route: str, label: str = "", value: str = "") -> str:
    more = f',{label}="{value}"' if label else ""
    return f'headgate_{name}{{route="{route}"{more}}}'


def _result(status: int, least_error: int) -> dict[str, object]:
    error = {"error.type": str(status)} if status >= least_error else {}
    return {**error, "http.response.status_code": status}


def _route_of(request: Request) -> str:
    if "access-control-request-method" in request.fields:
        return NO_ROUTE
    path = urlsplit(request.target).path
    return next((one for one in (PREFIX, EDGE) if path.startswith(f"{one}/")), NO_ROUTE)
